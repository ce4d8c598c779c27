"""Tables of figures: numbers to the right on a terminal, cells separated by tabs in a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from vicinal.cli.render import line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicinal.bench.tables import Cells

__all__ = ["print_numbers"]

_WORDS = frozenset({"engine", "effort", "queries", "version", "rows are", "found"})


def print_numbers(title: str, tables: Sequence[tuple[str, Cells]]) -> None:
    """Print tables under their titles, those without rows left out."""
    click.echo(line(title))
    for name, (columns, rows) in tables:
        if not rows:
            continue
        click.echo(f"\n{click.style(name, bold=True)}")
        if sys.stdout.isatty():
            _print_table(columns, rows)
        else:
            print_table(columns, rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        words = name in _WORDS
        table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    before = ""
    for row in rows:
        # A name stands once for the rows of its engine.
        shown = ["" if row[0] == before else row[0], *row[1:]]
        before = row[0]
        table.add_row(*(Text(line(cell)) for cell in shown))
    Console().print(table)
