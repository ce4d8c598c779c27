"""Progress on stderr, and only where somebody watches."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Advance", "progress_bar"]


class Advance(Protocol):
    """Shows how far the work has come: `done` from 0 to 1, and a few words."""

    def __call__(self, done: float, detail: str = "") -> None:
        """Move to `done`."""
        ...


def _silent(done: float, detail: str = "") -> None:
    """Show nothing."""


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Advance]:
    """Yield a function that moves the bar; it does nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0, detail="")

        def advance(done: float, detail: str = "") -> None:
            bar.update(task, completed=done, detail=detail)

        yield advance
