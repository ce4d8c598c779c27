"""A background thread that runs maintenance when the database is idle."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from vicinal.engine import maintenance
from vicinal.errors import Closed, Locked, VicinalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicinal.storage.pool import Pool

_IDLE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 5.0


class Maintainer:
    """Starts its thread with the first write; the thread ends with the database or the process.

    It waits until nothing was written for a moment, and rests after each step at least as long as
    the step took, so that writers of this and other processes come first.
    """

    def __init__(self, pool: Pool, now: Callable[[], int], *, enabled: bool) -> None:
        self._enabled = enabled and not pool.target.read_only
        self._pool = weakref.ref(pool)
        self._now = now
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._last_write = 0.0
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    def wake(self) -> None:
        """Tell that something was written."""
        if not self._enabled:
            return
        self._last_write = time.monotonic()
        self._woken.set()
        if self._thread is None:
            with self._start_lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="vicinal-maintenance", daemon=True)
                    self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for the step under way."""
        self._stopped.set()
        self._woken.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(_POLL_SECONDS)
            self._woken.clear()
            while not self._stopped.is_set():
                idle = time.monotonic() - self._last_write
                if idle < _IDLE_SECONDS:
                    self._stopped.wait(_IDLE_SECONDS - idle)
                    continue
                if not self._work():
                    break

    def _work(self) -> bool:
        """Run one step; return whether there may be more to do now."""
        pool = self._pool()
        if pool is None:
            self._stopped.set()
            return False
        started = time.monotonic()
        try:
            more = maintenance.step(pool, self._now, waiting=False)
        except Closed:
            self._stopped.set()
            return False
        except Locked:
            self._stopped.wait(_IDLE_SECONDS)
            return True
        except VicinalError:
            more = False  # the disk is full, for example: the next write, or the next poll, tries again
        self._stopped.wait(time.monotonic() - started)
        return more
