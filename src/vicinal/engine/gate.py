"""As many searches at a time as there are processors.

More threads than that take turns at every hand-over of the interpreter's lock, and wait for one another in the
middle of their scans: with two processors, four threads without a gate answer three quarters of what two do.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


_PATIENCE_SECONDS: Final = 0.05
"""A thread at work may come in again before those who wait, because changing threads costs time; for so long."""


class _Turn:
    """One who waits, since when, and whether a place was handed over; the lock is released to wake its thread."""

    __slots__ = ("handed", "lock", "since")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.since = time.monotonic()
        self.handed = False


class Gate:
    """Lets as many threads in as there are processors, and shares these among them; the others wait.

    Ctrl-C may come after any call: a place is always noted as held, free or handed over before the next one.
    """

    def __init__(self, threads: int, width: int | None = None) -> None:
        self._threads = threads
        self._width = width or processors()
        self._free = self._width
        self._waiting: deque[_Turn] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def entered(self, *, free: bool = False) -> Iterator[int]:
        """Hold a place for the block; the threads it may use: those of all processors that others leave.

        free: come in without a place, for who holds what those inside may wait for: a transaction.
        """
        held: list[object] = []
        try:
            if not free:
                self._enter(held)
            inside = max(1, self._width - self._free)
            yield max(1, min(self._threads, self._width // inside))
        finally:
            if held:
                self._leave()

    def _enter(self, held: list[object]) -> None:
        """Take a place, or wait for one; `held` is no longer empty then."""
        with self._lock:
            if self._free:
                self._free -= 1
                held.append(True)
                return
        turn = _Turn()
        try:
            with self._lock:
                self._waiting.append(turn)
            while not held:
                turn.lock.acquire()
                with self._lock:
                    if turn.handed or self._free:
                        self._free -= not turn.handed
                        held.append(True)
        finally:
            with self._lock:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                lost = turn.handed and not held
            if lost:
                self._leave()

    def _leave(self) -> None:
        """Hand the place to the first who has waited long, or let whoever comes first have it."""
        with self._lock:
            first = next((turn for turn in self._waiting if not turn.handed), None)
            if first is None:
                self._free += 1
                return
            if time.monotonic() - first.since > _PATIENCE_SECONDS:
                first.handed = True
            else:
                self._free += 1
            if first.lock.locked():
                first.lock.release()


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
