"""What the commands have in common: which file, which collection, which rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from vicinal.errors import InvalidFilter, NotFound, VicinalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicinal.collection import Collection
    from vicinal.database import Database

__all__ = [
    "chosen_collection",
    "collection_option",
    "database_argument",
    "json_option",
    "open_existing",
    "parse_where",
    "typed_ids",
    "where_option",
]

F = TypeVar("F", bound=Callable[..., Any])
DATABASE_SUFFIXES = {".db", ".sqlite", ".sqlite3", ".vicinal"}


def _collection_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a collection, once the database has been typed."""
    # An unfinished command line leaves its words unparsed in `args`.
    path = context.params.get("database") or next(iter(context.args), "")
    try:
        with open_existing(Path(path), read_only=True) as database:
            return [name for name in database.collections() if name.startswith(incomplete)]
    except (VicinalError, OSError):
        return []


def database_argument(command: F) -> F:
    """Add the argument DATABASE, a path."""
    return click.argument("database", type=click.Path(path_type=Path, dir_okay=False))(command)


def collection_option(command: F) -> F:
    """Add `-c/--collection`."""
    return click.option(
        "-c", "--collection", "name", metavar="NAME", shell_complete=_collection_names,
        help="Which collection. Not needed where there is only one.",
    )(command)  # fmt: skip


def where_option(command: F) -> F:
    """Add `--where`."""
    return click.option(
        "-w", "--where", metavar="FILTER",
        help="Only rows that match, such as \"year >= 2024 and tags contains 'diy'\", or a JSON object.",
    )(command)  # fmt: skip


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def open_existing(path: Path, *, read_only: bool) -> Database:
    """Open a database that must exist. Raises NotFound naming the file that was probably meant."""
    import vicinal  # noqa: PLC0415 - completion and --help need no database
    from vicinal.exchange import close_name  # noqa: PLC0415

    if not path.exists():
        close = close_name(path, DATABASE_SUFFIXES)
        hint = f"; did you mean {close!r}?" if close else ""
        message = f"no database {str(path)!r}{hint}"
        raise NotFound(message)
    return vicinal.connect(path, read_only=read_only, maintenance=False)


def chosen_collection(database: Database, name: str | None) -> Collection:
    """Return the collection by name, or the only one there is."""
    if name is not None:
        return database.collection(name)
    names = database.collections()
    if not names:
        message = "the database has no collections"
        raise NotFound(message)
    if len(names) > 1:
        message = f"the database has {len(names)} collections, choose one with -c: {', '.join(names)}"
        raise click.UsageError(message)
    return database.collection(names[0])


def parse_where(text: str | None) -> str | dict[str, object] | None:
    """Return a filter as the API takes it: SQL text as it is, a JSON object as a dict."""
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return cast("dict[str, object]", json.loads(text))
    except (ValueError, RecursionError) as error:
        message = f"--where looks like JSON and is not: {error}"
        raise InvalidFilter(message) from None


def typed_ids(collection: Collection, ids: Sequence[str]) -> list[int | str]:
    """Return ids from the command line in the type that the collection has."""
    if collection.info().get("id_type") != "int":
        return list(ids)
    try:
        return [int(identity) for identity in ids]
    except ValueError:
        bad = next(identity for identity in ids if not identity.lstrip("-").isdigit())
        message = f"the ids of {collection.name!r} are whole numbers, not {bad!r}"
        raise NotFound(message) from None
