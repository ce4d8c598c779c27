"""What a forked child inherits: connections that it may neither use nor close as usual.

SQLite remembers in memory which locks of a file its process holds; a child inherits the memory and not
the locks. A child that opens the file beside inherited connections therefore takes none, the parent
removes the log that the child writes to, and the child's commits are lost. So the child closes what it
inherited, at once and without touching the file. Where a transaction or another thread is using a
connection at that moment, it stays as it is for ever, and the child cannot open that file.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw

from vicinal.errors import UnsafeAccess

if TYPE_CHECKING:
    from vicinal.storage.session import Session

_QUIET_SECONDS: Final = 1.0

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
_unusable: set[tuple[int, int]] = set()
_held = threading.local()
OPENING: Final = threading.RLock()
"""Held while a connection is opened and tracked: a fork finds all there are, and none comes in between."""


def track(session: Session) -> None:
    """Close the session's connection in children that this process forks."""
    _sessions.add(session)


def refuse_unusable(path: str) -> None:
    """Raise UnsafeAccess where this process inherited a connection to `path` in mid-use."""
    if _unusable and _inode(path) in _unusable:
        message = (
            f"{path!r} was in use at the moment of the fork, so this child cannot open it: fork outside "
            "transactions, or start the process with multiprocessing's 'spawn'"
        )
        raise UnsafeAccess(message)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _quieten() -> None:
    """Before a fork: wait a moment for the calls of other threads to end, and keep new ones waiting."""
    deadline = time.monotonic() + _QUIET_SECONDS
    _held.opening = OPENING.acquire(timeout=_QUIET_SECONDS)
    _held.sessions = [
        session for session in list(_sessions) if session.lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
    ]


def _resume() -> None:
    for session in _held.sessions:
        session.lock.release()
    _held.sessions = []
    if _held.opening:
        _held.opening = False
        OPENING.release()


def _idle(session: Session) -> bool:
    try:
        return not session.connection.in_transaction
    except apsw.ThreadingViolationError:  # a thread that is not in the child was in the middle of a call
        return False


def _disown() -> None:
    """In the child: close what is idle without a checkpoint; keep the rest from ever being closed."""
    quiet = set(_held.sessions)
    for session in list(_sessions):
        if session.closed:
            continue
        if session in quiet and _idle(session):
            session.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            session.connection.close(True)
        else:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session.connection))
            if (inode := _inode(session.path)) is not None:
                _unusable.add(inode)
    _sessions.clear()
    _resume()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_quieten, after_in_parent=_resume, after_in_child=_disown)
