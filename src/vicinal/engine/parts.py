"""What readers keep in memory, part by part, each the exact image of one committed version.

A part (the slots of a field, its vectors, the rows of a collection, one metadata column) carries the
collection's version and stamp as read in the snapshot it was made from. Equal stamps mean equal
content, so a part is current exactly if its stamp is the snapshot's; an older one is an ancestor and
is brought up to date by what changed since its version. Neither commits of other processes, nor
rollbacks, nor savepoints of the user's own SQL need a hook: they all show as another stamp.

Shared parts hold committed state only. What a connection derives from its own uncommitted changes
stays in its session, and is shared after the commit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from vicinal.storage.catalog import CollectionRecord
    from vicinal.storage.session import Session

T = TypeVar("T")
_GROWTH = 4
"""A part may have grown so much since it was shared: codes make a second layout when it is first needed."""
Load = Callable[[], T]
Refresh = Callable[[T, int], "T | None"]
"""(old value, its version) -> the value now, or None where it must be loaded anew."""


@dataclass(frozen=True, slots=True)
class _Part(Generic[T]):
    version: int
    stamp: int
    value: T
    nbytes: int = 0


class Parts:
    """The parts of one open database, shared by its threads.

    `nbytes_of` gives the memory of a value; the least recently used values beyond `budget` bytes go.
    threads: how many may share a search, and so how many pieces large parts are made in.
    """

    def __init__(self, budget: int, nbytes_of: Callable[[object], int], threads: int) -> None:
        self.budget = budget
        self.threads = threads
        self._nbytes_of = nbytes_of
        self._shared: OrderedDict[tuple[int, Hashable], _Part[object]] = OrderedDict()
        self._locks: dict[tuple[int, Hashable], threading.RLock] = {}
        self._guard = threading.Lock()

    def get(
        self,
        session: Session,
        record: CollectionRecord,
        key: Hashable,
        load: Load[T],
        refresh: Refresh[T],
    ) -> T:
        """Return the value of part `key` as `session` sees it at `record`'s version."""
        whole_key = (record.id, key)
        if not session.private.get(record.id):  # the usual search: nothing of its own, and all is current
            current = self._look_up(whole_key)
            if current is not None and current.stamp == record.stamp:
                return cast("T", current.value)
        private = self._private(session, record)
        with self._lock_of(whole_key):
            mine = private.get(key)
            shared = self._look_up(whole_key)
            for part in (mine, shared):
                if part is not None and part.stamp == record.stamp:
                    if part is mine and not session.writing_now:
                        self._share(whole_key, part)
                    return cast("T", part.value)
            value = self._renewed(mine or shared, record, cast("Refresh[object]", refresh))
            part = _Part(record.version, record.stamp, load() if value is None else value)
            if session.writing_now or (shared is not None and shared.version > record.version):
                private[key] = part
            else:
                self._share(whole_key, part)
            return cast("T", part.value)

    def peek(self, record: CollectionRecord, key: Hashable) -> object | None:
        """Return what is shared under a key at any version, None where nothing is."""
        with self._guard:
            part = self._shared.get((record.id, key))
            return None if part is None else part.value

    def replace(self, session: Session, record: CollectionRecord, key: Hashable, value: object) -> None:
        """Store a better value of equal content (more of it loaded)."""
        part = _Part(record.version, record.stamp, value)
        whole_key = (record.id, key)
        with self._lock_of(whole_key):
            if session.writing_now:
                self._private(session, record)[key] = part
            else:
                self._share(whole_key, part)

    @staticmethod
    def _private(session: Session, record: CollectionRecord) -> dict[Hashable, _Part[object]]:
        """Return the session's own parts, emptied where its history is not the snapshot's."""
        if session.stamps.get(record.id) != record.stamp:
            session.private.pop(record.id, None)
            session.stamps[record.id] = record.stamp
        return cast("dict[Hashable, _Part[object]]", session.private.setdefault(record.id, {}))

    @staticmethod
    def _renewed(
        old: _Part[object] | None, record: CollectionRecord, refresh: Callable[[object, int], object | None]
    ) -> object | None:
        if old is None or old.version > record.version:
            return None
        return refresh(old.value, old.version)

    def _look_up(self, key: tuple[int, Hashable]) -> _Part[object] | None:
        with self._guard:
            part = self._shared.get(key)
            if part is not None:
                self._shared.move_to_end(key)
            return part

    def _share(self, key: tuple[int, Hashable], part: _Part[object]) -> None:
        part = replace(part, nbytes=self._nbytes_of(part.value))
        with self._guard:
            known = self._shared.get(key)
            if known is None or known.version <= part.version:
                self._shared[key] = part
                self._shared.move_to_end(key)
            self._evict(key)

    def _evict(self, keep: tuple[int, Hashable]) -> None:
        """Drop the least recently used parts beyond the budget; called under the guard."""
        if _GROWTH * sum(part.nbytes for part in self._shared.values()) <= self.budget:
            return
        sizes = {key: self._nbytes_of(part.value) for key, part in self._shared.items()}
        total = sum(sizes.values())
        for key in list(self._shared):
            if total <= self.budget:
                return
            if key != keep and sizes[key]:
                del self._shared[key]
                total -= sizes[key]

    def _lock_of(self, key: tuple[int, Hashable]) -> threading.RLock:
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = threading.RLock()
            return lock

    def drop(self, collection: int) -> None:
        """Forget everything of one collection."""
        with self._guard:
            for key in [key for key in self._shared if key[0] == collection]:
                del self._shared[key]
                self._locks.pop(key, None)
