"""SQLite's online backup, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from vicinal.storage.failures import translating

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicinal.storage.session import Session


def copy_pages(session: Session, path: str, pages_at_once: int, progress: Callable[[int, int], None] | None) -> None:
    """Copy the session's database into the file `path`, synced when this returns.

    The copy is of one moment: the snapshot is held while pages are copied.
    """
    with session.reading(), translating(path):
        target = apsw.Connection(path)
        try:
            with target.backup("main", session.connection, "main") as copy:
                while not copy.done:
                    copy.step(pages_at_once)
                    if progress is not None:
                        progress(copy.page_count - copy.remaining, copy.page_count)
        finally:
            target.close()
