"""As many searches at a time as there are processors.

More threads than that take turns at every hand-over of the interpreter's lock, and wait for one another in the
middle of their scans: with two processors, four threads without a gate answer three quarters of what two do.
"""

from __future__ import annotations

import math
import queue
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from vicinal.settings import processors

if TYPE_CHECKING:
    from collections.abc import Iterator


_PATIENCE_SECONDS: Final = 0.03
"""A thread at work may come in again before those who wait, because changing threads costs time; for so long."""
_STEP_BACK_SECONDS: Final = 0.0005
_MOST_STEPS: Final = 200
"""A tenth of a second at most: who waits may have been given up by Ctrl-C in the middle of saying so."""


class Gate:
    """Lets as many threads in as there are processors, and shares these among them; the others wait.

    Ctrl-C may come after any call of Python's, also at the beginning of a function. So a place is taken, and given
    back, by one call in C.
    """

    def __init__(self, threads: int, width: int | None = None) -> None:
        self._threads = threads
        self._width = width or processors()
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(self._width):
            self._places.put(None)
        self._waiting: deque[float] = deque()
        """Since when each of those has waited who found no place."""

    @contextmanager
    def entered(self, *, free: bool = False) -> Iterator[int]:
        """Hold a place for the block; the threads it may use: those of all processors that others leave.

        free: come in without a place, for who holds what those inside may wait for: a transaction.
        """
        held: list[None] = []
        try:
            if not free:
                self._enter(held)
            inside = max(1, self._width - self._places.qsize())
            yield max(1, min(self._threads, self._width // inside))
        finally:
            if held:
                self._places.put(None)

    def _enter(self, held: list[None]) -> None:
        """Take a place, or wait for one; `held` is no longer empty then."""
        self._step_back()
        with suppress(queue.Empty):
            held.extend(map(self._places.get, (False,)))
        if held:
            return
        since = time.monotonic()
        try:
            self._waiting.append(since)
            held.extend(map(self._places.get, (True,)))
        finally:
            with suppress(ValueError):
                self._waiting.remove(since)

    def _step_back(self) -> None:
        """Let those who have waited long come first."""
        for _ in range(_MOST_STEPS if self._waiting else 0):
            if time.monotonic() - min(list(self._waiting), default=math.inf) < _PATIENCE_SECONDS:
                return
            time.sleep(_STEP_BACK_SECONDS)
