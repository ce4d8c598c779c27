"""A background thread that runs maintenance when the database is idle."""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from vicinal.ending import quiet_at_exit, stop_at_exit
from vicinal.engine import maintenance
from vicinal.errors import Closed, Locked, VicinalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicinal.engine.upkeep import Upkeep
    from vicinal.storage.pool import Pool

_IDLE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 3.0
"""Where writes never cease, maintenance waits no longer, and rests several times as long as it works."""
_BUSY_RESTS: Final = 4.0


class Maintainer:
    """Starts its thread with the first write; the thread ends with the database or the process.

    It waits until nothing was written for a moment, and rests after each step at least as long as
    the step took, so that writers of this and other processes come first. Writes that never cease
    do not keep it from its work for ever.
    """

    def __init__(self, pool: Pool, upkeep: Upkeep, now: Callable[[], int], *, enabled: bool) -> None:
        self._enabled = enabled and not pool.target.read_only
        self._pool = weakref.ref(pool)
        self._upkeep = weakref.ref(upkeep)
        self._now = now
        # Not an Event: Ctrl-C inside `Event.set` would leave its lock taken for ever.
        self._writes: SimpleQueue[None] = SimpleQueue()
        self._ends: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._last_write = 0.0
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    def wake(self) -> None:
        """Tell that something was written."""
        if not self._enabled:
            return
        self._last_write = time.monotonic()
        if self._writes.empty():
            self._writes.put(None)
        if self._thread is None and self._start_lock.acquire(blocking=False):
            try:
                if self._thread is None:
                    stop_at_exit(self)
                    self._thread = threading.Thread(target=self._run, name="vicinal-maintenance", daemon=True)
                    self._thread.start()
            finally:
                self._start_lock.release()

    def stop(self) -> None:
        """End the thread; waits for the step under way."""
        self._stopping = True
        self._writes.put(None)
        self._ends.put(None)
        if (upkeep := self._upkeep()) is not None:
            upkeep.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        with quiet_at_exit():
            while not self._stopping:
                _wait(self._writes, _POLL_SECONDS)
                self._work_between_writes()

    def _work_between_writes(self) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not self._stopping:
            now = time.monotonic()
            idle = now - self._last_write
            if idle < _IDLE_SECONDS and now < until:
                _wait(self._ends, min(_IDLE_SECONDS - idle, until - now))
            elif not self._work(idle=idle >= _IDLE_SECONDS):
                break

    def _work(self, *, idle: bool) -> bool:
        """Run one step, and rest; return whether there may be more to do now."""
        pool, upkeep = self._pool(), self._upkeep()
        if pool is None or upkeep is None:
            self._stopping = True
            return False
        started = time.monotonic()
        try:
            more = maintenance.step(pool, self._now, waiting=False) or upkeep.tend(
                resting=True, beside_codes=True, building=idle
            )
        except Closed:
            self._stopping = True
            return False
        except Locked:
            _wait(self._ends, _IDLE_SECONDS)
            return True
        except VicinalError:
            more = False  # the disk is full, for example: the next write, or the next poll, tries again
        _wait(self._ends, (1.0 if idle else _BUSY_RESTS) * (time.monotonic() - started))
        return more


def _wait(signals: SimpleQueue[None], seconds: float) -> None:
    """Wait for a signal, or for some time."""
    with suppress(Empty):
        signals.get(timeout=seconds)
