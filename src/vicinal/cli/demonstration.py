"""The demo command: a real collection in seconds, some answers, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vicinal.cli.progress import progress_bar
from vicinal.cli.render import counted, file_bytes, human_bytes, line, shown_width

if TYPE_CHECKING:
    from vicinal.collection import Collection
    from vicinal.database import Database
    from vicinal.demo.index import Question
    from vicinal.results import Hits

__all__ = ["demo"]

N_ANSWERS = 3
ID_WIDTH = 36


@click.command(
    epilog="""\b
Examples
  vicinal demo
  vicinal demo --path /tmp/demo.db --rebuild
"""
)
@click.option(
    "--path", default="vicinal-demo.db", show_default=True, type=click.Path(path_type=Path, dir_okay=False),
    help="The file to make, or to use again.",
)  # fmt: skip
@click.option("--rebuild", is_flag=True, help="Collect and index everything again.")
def demo(*, path: Path, rebuild: bool) -> None:
    """Search the documentation of Python's standard library by meaning.

    It comes from the Python that runs this program; nothing is downloaded.
    """
    import vicinal  # noqa: PLC0415 - --help needs no database
    from vicinal.demo.index import COLLECTION, QUESTIONS, find_index  # noqa: PLC0415

    with vicinal.connect(path, maintenance=False) as db:
        when = "before" if find_index(db) is not None and not rebuild else f"in {_seconds_to_make(db):.1f} s"
    with vicinal.connect(path, maintenance=False) as db:
        collection = db.collection(COLLECTION)
        n_items, size = counted(len(collection), "item"), human_bytes(file_bytes(path))
        click.echo(f"{n_items} of the standard library, indexed {when}: {path}, {size}")
        collection.search(QUESTIONS[0].text, k=1)  # loads model and vectors, so that the times below are of searches
        for question in QUESTIONS:
            _ask(collection, question)
    _say_what_next(path)


def _seconds_to_make(db: Database) -> float:
    from vicinal.demo.index import make_index  # noqa: PLC0415

    begin = time.perf_counter()
    with progress_bar("indexing the standard library") as advance:
        make_index(db, lambda done, total: advance(done / total, f"{done:,} of {total:,}"))
    return time.perf_counter() - begin


def _ask(collection: Collection, question: Question) -> None:
    begin = time.perf_counter()
    hits = collection.search(question.text, k=N_ANSWERS, where=question.where)
    milliseconds = (time.perf_counter() - begin) * 1000
    condition = f"  where {question.where}" if question.where else ""
    click.echo(f"\n{click.style(question.text, bold=True)}{condition}  ({milliseconds:.1f} ms)")
    _show(hits)


def _show(hits: Hits) -> None:
    for hit in hits:
        summary = (hit.document or "").partition("\n")[2].partition(": ")[2]
        text = f"  {hit.score:.2f}  {line(hit.id):{ID_WIDTH}}  {line(summary)}"
        width = shown_width()
        click.echo(text if len(text) <= width else f"{text[: width - 1]}…")


def _say_what_next(path: Path) -> None:
    """Print commands that work as they stand in the shell that ran this one."""
    vicinal, file = _program(), shlex.quote(str(path))
    click.echo("\nTry next:")
    for command in (
        f'search {file} "sort a list" --where "kind = \'method\'" -k 5',
        f'search {file} "open a file" --explain',
        f"get {file} --where \"package = 'json' and kind = 'class'\"",
        f"export {file} stdlib.jsonl --no-vectors",
        "import copy.db stdlib.jsonl",
        f"info {file} --json",
    ):
        click.echo(f"  {vicinal} {command}")


def _program() -> str:
    """Return what to type for this program: its name where the shell finds it, else its path."""
    started = Path(sys.argv[0])
    on_path = shutil.which("vicinal")
    if started.name == "vicinal" and (on_path is None or Path(on_path).resolve() != started.resolve()):
        return shlex.quote(str(started))
    return "vicinal"
