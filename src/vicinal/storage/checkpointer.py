"""Moves the write-ahead log into the file beside the writers, who would wait for it otherwise.

A write appends to the log and syncs it. SQLite's own way is that the commit which finds 4 MB in it also copies
them into the file and syncs that. Here a thread does so while the next writes are computed, a megabyte at a
time: many small syncs hold up those of the writers less than few large ones. A log begins anew once all of it
is in the file and nobody reads it; under writes without a pause that moment would not come by itself, so the
commit that finds the log long copies the rest, which is little. On a disk that is nearly full all is done
SQLite's way: what the file takes there, the log could not have.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import apsw

from vicinal.ending import quiet_at_exit, stop_at_exit
from vicinal.errors import VicinalError
from vicinal.storage.connection import CHECKPOINT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from vicinal.storage.session import Session

_STEP_BYTES: Final = 1 << 20
_LONG_BYTES: Final = 16 << 20
_ROOM_BYTES: Final = 64 << 20


class Checkpointer:
    """Watches the commits of one session; `lend` gives another one to the thread that copies.

    The thread ends when it has copied what there was. Failures are left: the log keeps what is not copied, and
    later commits try again.
    """

    def __init__(self, session: Session, lend: Callable[[], AbstractContextManager[Session]]) -> None:
        self._path = session.path
        self._lend = lend
        self._seen = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        with session.lock:
            self._page_bytes = int(session.connection.execute("pragma page_size").get)
            session.connection.set_wal_hook(self._committed)
        stop_at_exit(self)

    def stop(self) -> None:
        """End the thread; waits for what it is copying."""
        self._stopping = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _committed(self, connection: apsw.Connection, _database: str, pages: int) -> int:
        self._seen = min(self._seen, pages)  # fewer than before: the log began anew
        if (pages - self._seen) * self._page_bytes >= _STEP_BYTES:
            self._seen = pages
            beside = not self._stopping and self._has_room()
            if pages * self._page_bytes >= (_LONG_BYTES if beside else CHECKPOINT_BYTES):
                with suppress(apsw.Error):  # another one copies just now, or the disk is full
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            elif beside and not (self._thread is not None and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="vicinal-checkpoint", daemon=True)
                with suppress(RuntimeError):  # the interpreter ends: what is in the log stays there
                    self._thread.start()
        return apsw.SQLITE_OK

    def _has_room(self) -> bool:
        try:
            return shutil.disk_usage(self._path).free >= _ROOM_BYTES
        except OSError:  # the file was moved, for example
            return False

    def _run(self) -> None:
        with quiet_at_exit(), suppress(VicinalError), self._lend() as session:
            session.checkpoint()
