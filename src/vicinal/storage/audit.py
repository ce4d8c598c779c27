"""Checks of the file itself, below collections."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from vicinal.storage.schema import first_key, last_key

if TYPE_CHECKING:
    from vicinal.storage.session import Session


def page_problems(session: Session) -> list[str]:
    """Return what SQLite's integrity check finds: broken pages, indexes that disagree with tables."""
    found = [str(row[0]) for row in session.run("pragma integrity_check(20)")]
    return [] if found == ["ok"] else found


def count_rows(session: Session) -> int:
    """Return the rows of all collections."""
    return cast("int", session.run("select count(*) from vicinal_row")[0][0])


def stray_ids(session: Session, collection: int) -> int:
    """Return how many rows of the id index have a key outside the collection."""
    sql = "select count(*) from vicinal_row where collection = ? and key not between ? and ?"
    return cast("int", session.run(sql, (collection, first_key(collection), last_key(collection)))[0][0])


def rebuild_indexes(session: Session) -> None:
    """Rebuild the SQL indexes of vicinal's tables."""
    for table in ("vicinal_row", "vicinal_block", "vicinal_chunk"):
        session.run(f"reindex {table}")
