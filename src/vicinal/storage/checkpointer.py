"""Moves the write-ahead log into the file beside the writers, who would wait for it otherwise.

A write appends to the log and syncs it. SQLite's own way is that the commit which finds 4 MB in it also copies
them into the file and syncs that. Here a thread does so while the next writes are computed, a megabyte at a
time: many small syncs hold up those of the writers less than few large ones. A log begins anew once all of it
is in the file and nobody reads it; under writes without a pause that moment would not come by itself, so the
commit that finds the log very long copies the rest, which is little.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import apsw

from vicinal.ending import quiet_at_exit, stop_at_exit
from vicinal.errors import VicinalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from vicinal.storage.session import Session

_STEP_BYTES: Final = 1 << 20
_MOST_BYTES: Final = 16 << 20


class Checkpointer:
    """Watches the commits of one connection; `lend` gives another one to the thread that copies.

    The thread ends when it has copied what there was. Failures are left: the log keeps what is not copied, and
    the next commits try again.
    """

    def __init__(self, connection: apsw.Connection, lend: Callable[[], AbstractContextManager[Session]]) -> None:
        page_bytes = int(connection.execute("pragma page_size").get)
        self._step = max(1, _STEP_BYTES // page_bytes)
        self._most = max(1, _MOST_BYTES // page_bytes)
        self._lend = lend
        self._seen = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        connection.set_wal_hook(self._committed)
        stop_at_exit(self)

    def stop(self) -> None:
        """End the thread; waits for what it is copying."""
        self._stopping = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _committed(self, connection: apsw.Connection, _database: str, pages: int) -> int:
        self._seen = min(self._seen, pages)  # fewer than before: the log began anew
        if pages >= self._most or (self._stopping and pages >= self._step):
            with suppress(apsw.Error):  # another one copies just now, or the disk is full
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        elif pages - self._seen >= self._step and not (self._thread is not None and self._thread.is_alive()):
            self._seen = pages
            self._thread = threading.Thread(target=self._run, name="vicinal-checkpoint", daemon=True)
            with suppress(RuntimeError):  # the interpreter ends: what is in the log stays there
                self._thread.start()
        return apsw.SQLITE_OK

    def _run(self) -> None:
        with quiet_at_exit(), suppress(VicinalError), self._lend() as session:
            session.checkpoint()
