"""Copying a file while it is in use, and what it holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vicinal.errors import AlreadyExists, InvalidInput, NotFound, shorten
from vicinal.storage import catalog, rows
from vicinal.storage.copy import copy_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicinal.storage.session import Session

_PAGES_AT_ONCE: Final = 2048


def backup(session: Session, path: str | os.PathLike[str], progress: Callable[[int, int], None] | None) -> None:
    """Write a consistent copy of the database to a new file while others read and write.

    The copy appears under its name only when it is complete and synced. Raises AlreadyExists.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        message = f"a backup goes to a path, not {shorten(path)}"
        raise InvalidInput(message)
    target = Path(path).expanduser()
    if target.exists():
        message = f"{str(target)!r} exists; a backup never overwrites: choose another name or remove it"
        raise AlreadyExists(message)
    if not target.parent.is_dir():
        message = f"no directory {str(target.parent)!r} to write the backup into"
        raise NotFound(message)
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        copy_pages(session, str(partial), _PAGES_AT_ONCE, progress)
        _publish(partial, target)
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{partial}{suffix}").unlink(missing_ok=True)


def _publish(partial: Path, target: Path) -> None:
    """Give the finished copy its name, durably, and not over a file that has appeared meanwhile."""
    if target.exists():
        message = f"{str(target)!r} has appeared meanwhile; a backup never overwrites"
        raise AlreadyExists(message)
    partial.rename(target)
    if os.name == "posix":
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def stats(session: Session) -> dict[str, object]:
    """Return sizes of the file and row counts per collection."""
    page_bytes = int(str(session.run("pragma page_size")[0][0]))
    pages = int(str(session.run("pragma page_count")[0][0]))
    free = int(str(session.run("pragma freelist_count")[0][0]))
    collections = {}
    for name in catalog.names(session):
        record = catalog.find(session, name)
        if record is not None:
            collections[name] = {"rows": rows.count(session, record.id), "version": record.version}
    log = Path(f"{session.path}-wal")
    return {
        "path": session.path,
        "file_bytes": page_bytes * pages,
        "free_bytes": page_bytes * free,
        "log_bytes": log.stat().st_size if log.exists() else 0,
        "page_bytes": page_bytes,
        "collections": collections,
    }
