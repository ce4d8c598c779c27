"""Reading a whole collection in pages."""

from __future__ import annotations

import contextvars
import time
from typing import TYPE_CHECKING, Final

from vicinal.errors import Closed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vicinal.backend import Backend
    from vicinal.filters import Node
    from vicinal.request import Include
    from vicinal.results import Rows

_SNAPSHOT_SECONDS: Final = 600.0


def pages(backend: Backend, name: str, where: Node | None, size: int, include: tuple[Include, ...]) -> Iterator[Rows]:
    """Yield all passing rows in the order of their insertion, each page in a short snapshot of its own."""
    after = -1
    while (found := backend.page(name, after, size, where, include)) is not None:
        rows, after = found
        if rows:
            yield rows


def in_snapshot(backend: Backend, pages: Iterator[Rows]) -> Iterator[Rows]:
    """Yield the pages as of one moment. Raises Closed when that is held for too long.

    The pages run in a context of their own, so that the caller's reads and writes stay outside.
    """
    context = contextvars.copy_context()
    held = backend.snapshot()
    context.run(held.__enter__)
    deadline = time.monotonic() + _SNAPSHOT_SECONDS
    try:
        while (rows := context.run(next, pages, None)) is not None:
            yield rows
            if time.monotonic() > deadline:
                message = f"the snapshot was held for {_SNAPSHOT_SECONDS:g} s; iterate without snapshot=True"
                raise Closed(message)
    finally:
        context.run(held.__exit__, None, None, None)
