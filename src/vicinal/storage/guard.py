"""Refuse the standard library's `sqlite3` on a file that vicinal has open.

POSIX locks belong to the process, not to the library: two SQLite libraries on one file in one
process do not see each other's locks, and closing either drops them all. Two writers then corrupt
the file. The interpreter announces every `sqlite3.connect`, so the second one can be refused.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vicinal.errors import UnsafeAccess

_Inode = tuple[int, int]

_open: Counter[_Inode] = Counter()
_lock = threading.Lock()
_installed = False


def _inode(path: str) -> _Inode | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _path_of(database: object) -> str | None:
    if isinstance(database, bytes):
        database = os.fsdecode(database)
    if not isinstance(database, (str, os.PathLike)):
        return None
    path = os.fspath(database)
    return unquote(urlsplit(path).path) if str(path).startswith("file:") else str(path)


def _refuse_second_library(event: str, arguments: tuple[object, ...]) -> None:
    if event != "sqlite3.connect" or not _open or not arguments:
        return
    path = _path_of(arguments[0])
    inode = _inode(path) if path else None
    if inode is not None and _open.get(inode):
        message = (
            f"{path!r} is open in vicinal: the standard library's sqlite3 on the same file, in the same "
            "process, would corrupt it. Use db.execute(sql) instead, or close the database first"
        )
        raise UnsafeAccess(message)


def watch(path: str) -> _Inode | None:
    """Refuse `sqlite3.connect` on `path` until `unwatch`; return the handle to end it with."""
    global _installed  # noqa: PLW0603 - an audit hook cannot be removed, so it is installed once
    inode = _inode(path)
    with _lock:
        if not _installed:
            sys.addaudithook(_refuse_second_library)
            _installed = True
        if inode is not None:
            _open[inode] += 1
    return inode


def unwatch(inode: _Inode | None) -> None:
    """End one `watch`."""
    if inode is None:
        return
    with _lock:
        _open[inode] -= 1
        if _open[inode] <= 0:
            del _open[inode]
