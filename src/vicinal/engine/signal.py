"""Telling another thread that it is over."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class Signal:
    """Given once and for all. Not a `threading.Event`: Ctrl-C inside its `set` would leave a lock taken for ever."""

    def __init__(self) -> None:
        self.given = False
        self._waiters: SimpleQueue[None] = SimpleQueue()

    def give(self) -> None:
        """Give the signal."""
        self.given = True
        self._waiters.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for the signal, or for some time; return whether it was given."""
        if not self.given:
            with suppress(Empty):
                self._waiters.get(timeout=seconds)
                self._waiters.put(None)  # for others that wait
        return self.given
