"""How results look: tables on a terminal, tab-separated lines in a pipe, JSON on request."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "counted",
    "file_bytes",
    "human_bytes",
    "line",
    "metadata_text",
    "print_json",
    "print_pairs",
    "print_table",
    "shown_width",
]

_RIGHT = frozenset({"score", "distance", "rows", "dim", "bytes"})


def print_json(value: object) -> None:
    """Print a value as JSON; times in ISO 8601, arrays as lists, bits as packed bytes."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def line(text: object) -> str:
    """Return text on one line, without control characters that a terminal would obey."""
    flat = " ".join(str("" if text is None else text).split())
    return flat if flat.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in flat)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def file_bytes(path: Path) -> int:
    """Return the size of a database on disk, with what is still in its log."""
    return sum(part.stat().st_size for part in (path, path.with_name(f"{path.name}-wal")) if part.exists())


def shown_width() -> int:
    """Return how many characters fit on a line of stdout; in a pipe, any number."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def metadata_text(metadata: Mapping[str, object] | None) -> str:
    """Return metadata as `key=value` pairs."""
    return ", ".join(f"{key}={_value(value)}" for key, value in (metadata or {}).items())


def _value(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=_plain).strip('"')


def human_bytes(n_bytes: float) -> str:
    """Return a size as people read it.

    >>> human_bytes(1536), human_bytes(10)
    ('1.5 KB', '10 B')
    """
    for unit in ("B", "KB", "MB", "GB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TB"


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]], *, flexible: Sequence[str] = ()) -> None:
    """Print rows; on a terminal, the `flexible` columns share the width that the others leave.

    In a pipe: a line of names, then one line a row, cells separated by tabs and never cut.
    """
    cells = [[line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo("\n".join("\t".join(row) for row in [list(names), *cells]))
        return
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(
            name,
            justify="right" if name in _RIGHT else "left",
            no_wrap=name not in flexible,
            overflow="fold" if name in flexible else "ellipsis",
        )
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; aligned on a terminal, separated by a tab in a pipe."""
    found = [(name, line(value)) for name, value in pairs]
    width = max((len(name) for name, _ in found), default=0)
    for name, value in found:
        click.echo(f"{name.ljust(width)}  {value}" if sys.stdout.isatty() else f"{name}\t{value}")
