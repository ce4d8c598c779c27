"""Two connections that see the same rows, so that much is read by two threads side by side."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vicinal.storage import catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vicinal.storage.session import Session


@contextmanager
def side_by_side(session: Session, collection: int, *, worthwhile: bool) -> Iterator[list[Session]]:
    """Lend the sessions to read a collection with: this one and, where there is much, one beside it.

    The other one is left out where it sees the collection in another state: others have committed since this
    session's snapshot, or this session's own changes are not committed.
    """
    if not worthwhile:
        yield [session]
        return
    with session.twin() as other:
        same = other is not None and catalog.stamp(other, collection) == catalog.stamp(session, collection)
        yield [session, other] if other is not None and same else [session]
