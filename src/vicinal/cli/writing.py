"""Commands that change rows: import, delete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from vicinal.cli.progress import progress_bar
from vicinal.cli.render import counted, print_json

if TYPE_CHECKING:
    from vicinal.collection import Collection
    from vicinal.database import Database
    from vicinal.exchange import Batch, Loaded, Source, Wanted

__all__ = ["Interrupted", "delete", "import_"]


class Interrupted(click.ClickException):
    """Ctrl-C, with words about what is stored."""

    exit_code = 130


@click.command(
    "import",
    epilog="""\b
Examples
  vicinal import app.db notes/ -c notes --embedder wordllama
  vicinal import app.db corpus.jsonl --embedder wordllama --text title --text text
  vicinal import app.db vectors.npy -c points --metric l2 --dtype f16 --number
""",
)
@database_argument
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-c", "--collection", "name", metavar="NAME", help="Into which; created if it does not exist.")
@click.option("--embedder", metavar="NAME", help="Turns texts into vectors, such as wordllama.")
@click.option("--metric", type=click.Choice(["cosine", "l2", "dot", "l1", "hamming"]), help="Of a new collection.")
@click.option("--dtype", type=click.Choice(["f32", "f16", "i8", "bit"]), help="Stored type of a new collection.")
@click.option("--dim", type=click.IntRange(min=1), help="Length of the vectors, where they do not say it.")
@click.option("--quantize", type=click.Choice(["unit"]), help="Store floats from -1 to 1 as i8.")
@click.option("--format", "format_", metavar="FORMAT", help="What SOURCE is, where its name does not say it.")
@click.option("--id", "id_column", metavar="COLUMN", help="The ids. Default: id, _id.")
@click.option(
    "--text", "text_columns", metavar="COLUMN", multiple=True,
    help="The text; several are joined. Default: document, text, body, content.",
)  # fmt: skip
@click.option("--vector", "vector_column", metavar="COLUMN", help="The vectors. Default: vector, embedding, emb.")
@click.option(
    "--metadata",
    "metadata_columns",
    metavar="COLUMN",
    multiple=True,
    help="Keep only these as metadata. Default: all.",
)
@click.option("--number", is_flag=True, help="Files of bare vectors: ids are positions from 0.")
@click.option("--refuse", is_flag=True, help="Refuse ids that exist, instead of replacing their rows.")
@click.option("--skip", default=0, type=click.IntRange(min=0), metavar="ROWS", help="Leave out so many rows first.")
@click.option("--batch", default=1000, show_default=True, type=click.IntRange(min=1), help="Rows per transaction.")
@json_option
def import_(  # noqa: PLR0913 - one parameter per option
    *,
    database: Path,
    source: Path,
    name: str | None,
    embedder: str | None,
    metric: Any,  # noqa: ANN401 - click has checked it
    dtype: Any,  # noqa: ANN401
    dim: int | None,
    quantize: Any,  # noqa: ANN401
    format_: str | None,
    id_column: str | None,
    text_columns: tuple[str, ...],
    vector_column: str | None,
    metadata_columns: tuple[str, ...],
    number: bool,
    refuse: bool,
    skip: int,
    batch: int,
    as_json: bool,
) -> None:
    """Store the rows of SOURCE: a file, or a folder of text files.

    Reads .jsonl .csv .tsv .parquet .npy .npz .fvecs .bvecs .ivecs .txt .md .rst; .jsonl and .csv also as
    .gz. Rows whose id exists are replaced. Every batch is durable when it counts as stored: after Ctrl-C
    or an error, run the same command again.
    """
    import vicinal  # noqa: PLC0415 - --help needs no database
    from vicinal import exchange  # noqa: PLC0415

    columns = exchange.Columns(id=id_column, text=text_columns, vector=vector_column, metadata=metadata_columns or None)
    reader = exchange.open_source(source, columns=columns, file_format=format_, number=number)
    sample = exchange.first_rows(reader)
    wanted = exchange.Wanted(embedder=embedder, metric=metric, dtype=dtype, dim=dim, quantize=quantize)
    with vicinal.connect(database, maintenance=False) as db:
        names = db.collections()
        collection = _target(db, name, reader, sample, wanted)
        with exchange.discarded_if_empty(db, collection, created=collection.name not in names):
            loaded = _load(collection, reader, batch_rows=batch, refuse=refuse, skip=skip)
        n_rows = len(collection)
    if as_json:
        print_json(
            {"collection": collection.name, "stored": loaded.rows, "repeated": loaded.repeated,
             "batches": loaded.batches, "rows": n_rows}
        )  # fmt: skip
        return
    repeated = f" ({loaded.repeated:,} of them repeated an id; the last one counts)" if loaded.repeated else ""
    click.echo(f"stored {counted(loaded.rows, 'row')}{repeated}; {collection.name!r} in {database} has {n_rows:,}")


def _target(db: Database, name: str | None, reader: Source, sample: Batch, wanted: Wanted) -> Collection:
    """Return the collection: the named one, the export's, the only one, or one named after the file."""
    from vicinal import exchange  # noqa: PLC0415

    names = db.collections()
    if name is None and reader.spec is not None:
        name = reader.spec.collection
    if name is None:
        name = names[0] if len(names) == 1 else reader.path.resolve().name.split(".")[0] if not names else None
    if name is None:
        message = f"the database has {len(names)} collections, choose one with -c: {', '.join(names)}"
        raise click.UsageError(message)
    return exchange.open_target(db, name, reader, sample, wanted)


def _load(collection: Collection, reader: Source, *, batch_rows: int, refuse: bool, skip: int) -> Loaded:
    from vicinal import exchange  # noqa: PLC0415

    state = exchange.Loaded()
    try:
        with progress_bar(f"importing {reader.path.name}") as advance:

            def show(now: Loaded) -> None:
                nonlocal state
                state = now
                advance(now.done, f"{now.rows:,} rows")

            return exchange.load_rows(
                collection, reader, batch_rows=batch_rows, mode="refuse" if refuse else "replace", skip=skip,
                progress=show,
            )  # fmt: skip
    except KeyboardInterrupt:
        again = f"--skip {skip + state.rows}" if state.generated_ids else "the same command"
        message = f"interrupted; {state.rows:,} rows in {state.batches:,} batches are stored; continue with {again}"
        raise Interrupted(message) from None


@click.command(
    epilog="""\b
Examples
  vicinal delete app.db doc-1 doc-2
  vicinal delete app.db --where "year < 2020" --yes
  vicinal delete app.db --collection notes --all
"""
)
@database_argument
@click.argument("ids", nargs=-1)
@collection_option
@where_option
@click.option("--all", "everything", is_flag=True, help="Delete the whole collection; needs --collection.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(  # noqa: PLR0913 - one parameter per option
    *,
    database: Path,
    ids: tuple[str, ...],
    name: str | None,
    where: str | None,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete rows by IDS or by filter, or a whole collection."""
    if (bool(ids), where is not None, everything).count(True) != 1:
        message = "give one of IDS, --where and --all"
        raise click.UsageError(message)
    if everything and name is None:
        message = "--all deletes a collection, and needs its name: --collection NAME"
        raise click.UsageError(message)
    with open_existing(database, read_only=False) as db:
        collection = chosen_collection(db, name)
        if everything:
            n_deleted = len(collection)
            _confirm(f"Delete the collection {collection.name!r} with {counted(n_deleted, 'row')}?", yes=yes)
            db.drop(collection.name)
        else:
            wanted, condition = typed_ids(collection, ids) or None, parse_where(where)
            n_rows = collection.count(where=condition) if wanted is None else len(collection.get(wanted, include=()))
            _confirm(f"Delete {counted(n_rows, 'row')} of {collection.name!r}?", yes=yes)
            n_deleted = collection.delete(wanted, where=condition)
    if as_json:
        print_json({"deleted": n_deleted})
    else:
        click.echo(f"deleted {counted(n_deleted, 'row')}")


def _confirm(question: str, *, yes: bool) -> None:
    """Ask on stderr. Raises where the answer is no, or where nobody can answer."""
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        message = "nobody answers here: add --yes to delete without being asked"
        raise click.UsageError(message) from None
    if not agreed:
        message = "nothing was deleted"
        raise click.ClickException(message)
