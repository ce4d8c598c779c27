"""Commands that only read: search, get, info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from vicinal.cli.opening import (
    chosen_collection,
    collection_option,
    database_argument,
    json_option,
    open_existing,
    parse_where,
    typed_ids,
    where_option,
)
from vicinal.cli.render import file_bytes, human_bytes, metadata_text, print_json, print_pairs, print_table
from vicinal.errors import InvalidVector, NotFound

if TYPE_CHECKING:
    from vicinal.database import Database
    from vicinal.request import Include
    from vicinal.results import Hits, Rows

__all__ = ["get", "info", "search"]


@click.command(
    epilog="""\b
Examples
  vicinal search app.db "wall paint that dries fast" -k 5 --where "year >= 2024"
  vicinal search app.db --vector "[0.1, 0.2, 0.3]" -c points --json
"""
)
@database_argument
@click.argument("query", required=False)
@collection_option
@click.option("-k", default=10, show_default=True, type=click.IntRange(min=1), help="How many rows.")
@where_option
@click.option("--vector", metavar="JSON", help="Search by a vector, written as [0.1, 0.2, …].")
@click.option(
    "--vector-file", type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Search by the first vector of a .npy file, or by a JSON array in a file.",
)  # fmt: skip
@click.option("--using", metavar="FIELD", help="Which vector field, where there are several.")
@click.option("--recall", default=0.95, show_default=True, help="Share of the nearest rows to find.")
@click.option("--exact", is_flag=True, help="Compare with every row.")
@click.option("--explain", is_flag=True, help="Show how the search is answered instead of the answer.")
@json_option
def search(  # noqa: PLR0913 - one parameter per option
    *,
    database: Path,
    query: str | None,
    name: str | None,
    k: int,
    where: str | None,
    vector: str | None,
    vector_file: Path | None,
    using: str | None,
    recall: float,
    exact: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Find the rows nearest to QUERY, a text, or to a vector."""
    if sum(value is not None for value in (query, vector, vector_file)) != 1:
        message = "give one of QUERY, --vector and --vector-file"
        raise click.UsageError(message)
    given: dict[str, Any] = {
        "k": k, "where": parse_where(where), "recall": recall, "exact": exact, "using": using
    }  # fmt: skip
    if query is not None:
        given["query"] = query
    else:
        given["vector"] = vector if vector is not None else _read_vector(cast("Path", vector_file))
    with open_existing(database, read_only=True) as db:
        collection = chosen_collection(db, name)
        if explain:
            explanation = collection.explain(**given)
            return print_json(explanation.to_dict()) if as_json else click.echo(str(explanation))
        hits = collection.search(**given)
        if where and not hits:  # a misspelt field is no error: it is a field that no row has
            for field in collection.explain(**given).unknown_fields:
                click.echo(f"note: no row has the field {field!r}", err=True)
    return print_json(hits.to_dicts()) if as_json else _print_hits(hits)


def _read_vector(path: Path) -> object:
    """Return the first vector of a `.npy` file, or the text of any other for the API to parse."""
    from vicinal.exchange import ONLY, open_source  # noqa: PLC0415 - not needed for a text

    if path.suffix.lower() != ".npy":
        return path.read_text(encoding="utf-8", errors="replace").strip()
    first = next(iter(open_source(path).batches(1)), None)
    if first is None or first.vectors is None:
        message = f"{path.name} holds no vector"
        raise InvalidVector(message)
    return first.vectors[ONLY][0]


def _print_hits(hits: Hits) -> None:
    rows = [(f"{hit.score:.4f}", hit.id, hit.document, metadata_text(hit.metadata)) for hit in hits]
    print_table(("score", "id", "document", "metadata"), rows, flexible=("document", "metadata"))


@click.command(
    epilog="""\b
Examples
  vicinal get app.db doc-1 doc-2
  vicinal get app.db --where "year = 2024" --order-by -year --limit 5 --json
"""
)
@database_argument
@click.argument("ids", nargs=-1)
@collection_option
@where_option
@click.option("--order-by", metavar="FIELD", multiple=True, help="Sort by a field; -FIELD for descending.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=0), help="At most so many rows.")
@click.option("--offset", default=0, type=click.IntRange(min=0), help="Leave out so many rows first.")
@click.option("--vectors", is_flag=True, help="Bring the vectors too (shown with --json).")
@click.option("--count", is_flag=True, help="Print only the number of rows that match.")
@json_option
def get(  # noqa: PLR0913 - one parameter per option
    *,
    database: Path,
    ids: tuple[str, ...],
    name: str | None,
    where: str | None,
    order_by: tuple[str, ...],
    limit: int,
    offset: int,
    vectors: bool,
    count: bool,
    as_json: bool,
) -> None:
    """Show rows by IDS, by filter, or the first ones."""
    if ids and (where is not None or order_by or offset or count):
        message = "give either IDS or --where and its kin"
        raise click.UsageError(message)
    include: tuple[Include, ...] = ("document", "metadata", "vector") if vectors else ("document", "metadata")
    with open_existing(database, read_only=True) as db:
        collection = chosen_collection(db, name)
        if count:
            n_rows = collection.count(where=parse_where(where))
            return print_json({"count": n_rows}) if as_json else click.echo(n_rows)
        wanted = typed_ids(collection, ids)
        if ids:
            rows = collection.get(wanted, include=include)
        else:
            rows = collection.get(
                where=parse_where(where),
                order_by=list(order_by) or None,
                limit=limit,
                offset=offset,
                include=include,
            )
    _print_rows(rows, as_json=as_json)
    missing = [identity for identity in wanted if identity not in rows.ids]
    if missing:
        message = f"no row with id {', '.join(map(repr, missing[:5]))}" + (" and others" if len(missing) > 5 else "")
        raise NotFound(message)
    return None


def _print_rows(rows: Rows, *, as_json: bool) -> None:
    if as_json:
        print_json(rows.to_dicts())
        return
    found = [(row.id, row.document, metadata_text(row.metadata)) for row in rows]
    print_table(("id", "document", "metadata"), found, flexible=("document", "metadata"))


@click.command(
    epilog="""\b
Examples
  vicinal info app.db
  vicinal info app.db -c docs --json
"""
)
@database_argument
@collection_option
@json_option
def info(*, database: Path, name: str | None, as_json: bool) -> None:
    """Show the collections of a database, or one of them, and the size of the file."""
    with open_existing(database, read_only=True) as db:
        names = [name] if name is not None else db.collections()
        found = [db.collection(each).info() for each in names]
        summary = {"path": str(database), "bytes": file_bytes(database), **_plain_stats(db)}
    if as_json:
        print_json({**summary, "collections": found})
        return
    if name is not None:
        print_pairs([(key, _shown(value)) for key, value in found[0].items()])
        return
    print_table(("collection", "rows", "vectors", "embedder"), [_info_row(entry) for entry in found], flexible=())
    click.echo(f"{database}: {human_bytes(file_bytes(database))}", err=True)


def _plain_stats(db: Database) -> dict[str, object]:
    return {key: value for key, value in db.stats().items() if key not in ("path", "collections")}


def _info_row(entry: dict[str, object]) -> tuple[object, ...]:
    return entry["name"], entry["rows"], _shown(entry["fields"]), entry.get("embedder")


def _shown(value: object) -> str:
    """Return vector fields as `name: 256 x f32, cosine, hnsw`, anything else as text."""
    if isinstance(value, (list, tuple)) and all(isinstance(entry, dict) and "dtype" in entry for entry in value):
        return "; ".join(
            f"{entry['name']}: {entry['dim'] or 'any'} x {entry['dtype']}, {entry['metric']}, {entry['index']['kind']}"
            for entry in value
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
