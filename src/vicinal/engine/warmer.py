"""A background thread that takes vectors into memory, so that searches need not wait for it."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from vicinal.ending import quiet_at_exit, stop_at_exit
from vicinal.errors import VicinalError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Warmer"]


class Warmer:
    """Runs `load`, block by block, for what searches found missing; its thread ends when nothing is.

    `load` is told what was asked for, and returns whether there is more of it.
    """

    def __init__(self, load: Callable[[str, str], bool]) -> None:
        self._load = load
        self._stopping = False
        self._thread: threading.Thread | None = None
        stop_at_exit(self)

    def wake(self, collection: str, field: str) -> None:
        """Begin to load a field, unless the thread is busy: then another search will ask again."""
        thread = self._thread
        if self._stopping or (thread is not None and thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._run, args=(collection, field), name="vicinal-warming", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for the block under way."""
        self._stopping = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join()

    def _run(self, collection: str, field: str) -> None:
        with quiet_at_exit(), suppress(VicinalError):  # closed, dropped or damaged: searches say so themselves
            while not self._stopping and self._load(collection, field):
                pass
