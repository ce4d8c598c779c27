"""Commands that keep a database well: export, backup, verify, compact."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vicinal.cli.opening import (
    chosen_collection,
    collection_option,
    database_argument,
    json_option,
    open_existing,
    parse_where,
    where_option,
)
from vicinal.cli.progress import Advance, progress_bar
from vicinal.cli.render import counted, human_bytes, print_json, print_pairs
from vicinal.errors import Corrupted

__all__ = ["backup", "compact", "export", "verify"]


@click.command(
    epilog="""\b
Examples
  vicinal export app.db docs.jsonl
  vicinal export app.db docs.parquet -c docs --where "year >= 2024"
  vicinal export app.db - --no-vectors | head
"""
)
@database_argument
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False))
@collection_option
@where_option
@click.option("--vectors/--no-vectors", default=True, show_default=True, help="Write the vectors.")
@click.option("-f", "--force", is_flag=True, help="Overwrite TARGET.")
@json_option
def export(  # noqa: PLR0913 - one parameter per option
    *,
    database: Path,
    target: Path,
    name: str | None,
    where: str | None,
    vectors: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write a collection to TARGET: .jsonl, .parquet, or - for JSON lines on stdout.

    `vicinal import` makes the same collection of it, vectors bit by bit.
    """
    from vicinal import exchange  # noqa: PLC0415 - --help needs no database

    parquet = target.suffix.lower() == ".parquet"
    if str(target) != "-" and not parquet and target.suffix.lower() not in (".jsonl", ".ndjson"):
        message = f"cannot export to {target.name!r}: the name ends in .jsonl or .parquet"
        raise click.UsageError(message)
    with (
        open_existing(database, read_only=True) as db,
        progress_bar(f"exporting to {target.name}") as advance,
    ):
        collection = chosen_collection(db, name)
        condition = parse_where(where)
        total = max(1, collection.count(where=condition))

        def show(n_rows: int) -> None:
            advance(min(1.0, n_rows / total), f"{n_rows:,} rows")

        if str(target) == "-":
            exchange.write_jsonl(collection, sys.stdout, where=condition, vectors=vectors, progress=show)
            return
        write = exchange.export_parquet if parquet else exchange.export_jsonl
        n_rows = write(collection, target, where=condition, vectors=vectors, overwrite=force, progress=show)
    n_bytes = target.stat().st_size
    if as_json:
        print_json({"rows": n_rows, "path": str(target), "bytes": n_bytes})
    else:
        click.echo(f"wrote {counted(n_rows, 'row')} to {target} ({human_bytes(n_bytes)})")


@click.command(
    epilog="""\b
Example
  vicinal backup app.db backups/app-2024-05-01.db
"""
)
@database_argument
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def backup(*, database: Path, target: Path, as_json: bool) -> None:
    """Copy a database while it is in use. TARGET, which must not exist, shows one moment."""
    with open_existing(database, read_only=True) as db, progress_bar("backing up") as advance:
        db.backup(target, progress=Counter(advance, "pages"))
    n_bytes = target.stat().st_size
    if as_json:
        print_json({"path": str(target), "bytes": n_bytes})
    else:
        click.echo(f"copied {database} to {target} ({human_bytes(n_bytes)})")


class Counter:
    """Shows `done` of `total` as progress."""

    def __init__(self, advance: Advance, unit: str) -> None:
        self.advance = advance
        self.unit = unit

    def __call__(self, done: int, total: int) -> None:
        self.advance(done / max(1, total), f"{done:,} of {total:,} {self.unit}")


@click.command(
    epilog="""\b
Examples
  vicinal verify app.db
  vicinal verify app.db --repair
"""
)
@database_argument
@click.option("--repair", is_flag=True, help="Rebuild what can be rebuilt from the rest.")
@json_option
def verify(*, database: Path, repair: bool, as_json: bool) -> None:
    """Check every page, row and vector; exit with 7 if something is wrong."""
    with open_existing(database, read_only=not repair) as db, progress_bar("verifying") as advance:
        report = db.verify(repair=repair, progress=Counter(advance, "steps"))
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "problems": report.problems,
                "repaired": report.repaired,
                "checked": report.checked,
            }
        )
    else:
        print_pairs([*((f"checked {what}", f"{n:,}") for what, n in report.checked.items())])
        print_pairs(
            [
                *(("repaired", what) for what in report.repaired),
                *(("problem", what) for what in report.problems),
            ]
        )
        if report.ok:
            click.echo("no problems")
    if not report.ok:
        hint = "" if repair else f"; 'vicinal verify {database} --repair' rebuilds what can be rebuilt"
        message = f"{counted(len(report.problems), 'problem')} in {str(database)!r}{hint}"
        raise Corrupted(message)


@click.command(
    epilog="""\b
Example
  vicinal compact app.db
"""
)
@database_argument
@json_option
def compact(*, database: Path, as_json: bool) -> None:
    """Give the space of deleted rows back to the file system."""
    with open_existing(database, read_only=False) as db, progress_bar("compacting") as advance:
        found = db.compact(progress=Counter(advance, "steps"))
    if as_json:
        print_json(found)
    else:
        print_pairs([(key, human_bytes(value) if "bytes" in key else f"{value:,}") for key, value in found.items()])
