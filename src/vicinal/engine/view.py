"""A collection as one request sees it: one snapshot, one `now`, parts loaded on first use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vicinal.engine import columns, rowmap, slotmap
from vicinal.engine.fields import choice_of
from vicinal.engine.growing import Growing
from vicinal.filters import evaluate, fields
from vicinal.storage import rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.engine.columns import FieldColumn
    from vicinal.engine.parts import Parts
    from vicinal.engine.rowmap import RowMap
    from vicinal.engine.slotmap import SlotMap
    from vicinal.filters import Column, Node
    from vicinal.indexing import IndexChoice
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.session import Session


@dataclass(frozen=True, slots=True)
class _RowOfSlot:
    """Position in the row map of each position in the slot map."""

    slots: Growing[np.int64]
    numbers: Growing[np.int64]
    positions: Growing[np.int64]
    same: bool
    """Whether both count alike, so that a mask over rows is one over slots."""


@dataclass(slots=True)
class View:
    """One collection inside one snapshot; lives as long as `session.reading()` around it.

    now: UTC microseconds, against which rows expire.
    A view keeps the maps it has seen: another thread may meanwhile share a map of the same version that
    counts otherwise (without slots that came and went).
    """

    session: Session
    record: CollectionRecord
    parts: Parts
    now: int
    _expired: NDArray[np.int64] | None = field(default=None, init=False)
    _slot_maps: dict[int, SlotMap] = field(default_factory=dict, init=False)
    _row_map: RowMap | None = field(default=None, init=False)
    _choices: dict[int, IndexChoice] = field(default_factory=dict, init=False)

    def choice(self, entry: FieldRecord) -> IndexChoice:
        """Return the kind of index chosen for a vector field."""
        found = self._choices.get(entry.id)
        if found is None:
            found = self._choices[entry.id] = choice_of(self.record, entry)
        return found

    def slots(self, entry: FieldRecord) -> SlotMap:
        """Return the slots of a vector field."""
        found = self._slot_maps.get(entry.id)
        if found is None:
            found = self._slot_maps[entry.id] = self.parts.get(
                self.session,
                self.record,
                ("slots", entry.id),
                lambda: slotmap.load(self.session, entry),
                lambda old, version: slotmap.refresh(old, version, self.session, entry),
            )
        return found

    def rows(self) -> RowMap:
        """Return the rows of the collection, expired ones included."""
        collection = self.record.id
        if self._row_map is None:
            self._row_map = self.parts.get(
                self.session,
                self.record,
                "rows",
                lambda: rowmap.load(self.session, collection),
                lambda old, version: rowmap.refresh(old, version, self.session, collection),
            )
        return self._row_map

    def column(self, path: columns.Path) -> Column:
        """Return one metadata field, aligned to `rows()`."""
        collection, row_map = self.record.id, self.rows()

        def refresh(old: FieldColumn, version: int) -> FieldColumn | None:
            return columns.refresh(old, version, self.session, collection, row_map, path)

        found = self.parts.get(
            self.session,
            self.record,
            ("column", path),
            lambda: columns.load(self.session, collection, row_map, path),
            refresh,
        )
        if not found.fits(row_map):
            found = columns.load(self.session, collection, row_map, path)
            self.parts.replace(self.session, self.record, ("column", path), found)
        return found.column

    def expired(self) -> NDArray[np.int64]:
        """Return the numbers of rows that are stored but have expired. Cost: one look into an index."""
        if self._expired is None:
            first = self.parts.get(
                self.session,
                self.record,
                "next expiry",
                lambda: rows.next_expiry(self.session, self.record.id),
                lambda _old, _version: None,
            )
            some = first is not None and first <= self.now
            self._expired = rows.expired(self.session, self.record.id, self.now) if some else np.empty(0, np.int64)
        return self._expired

    def passing(self, where: Node | None) -> NDArray[np.bool_]:
        """Return which positions of `rows()` exist, have not expired and match. A fresh array."""
        row_map = self.rows()
        mask = row_map.exists.copy() if where is None else evaluate(where, self.column, len(row_map))
        if where is not None:
            mask &= row_map.exists
        gone = self.expired()
        if len(gone):
            mask[row_map.positions(gone)] = False
        return mask

    def passing_numbers(self, where: Node | None) -> NDArray[np.int64]:
        """Return the numbers of the rows that pass, ascending."""
        return self.rows().numbers.view[self.passing(where)]

    def passing_slots(self, entry: FieldRecord, where: Node | None) -> NDArray[np.bool_] | None:
        """Return which positions of `slots(entry)` hold a row that passes; None where all do."""
        slot_map = self.slots(entry)
        if where is None and not len(self.expired()):
            return None if slot_map.n_live == len(slot_map) else slot_map.live
        if where is None:
            return slot_map.live & ~np.isin(slot_map.rows.view, self.expired())
        mask = self.passing(where)
        if not len(mask):  # no rows are left, only dead slots
            return np.zeros(len(slot_map), np.bool_)
        link = self._row_of_slot(entry, slot_map)
        if not link.same:
            mask = mask[link.positions.view]
        if slot_map.n_live < len(slot_map):
            mask &= slot_map.live
        return mask

    def _row_of_slot(self, entry: FieldRecord, slot_map: SlotMap) -> _RowOfSlot:
        row_map = self.rows()

        def compute(old: Growing[np.int64] | None) -> _RowOfSlot:
            start = old.length if old is not None else 0
            fresh = row_map.positions(slot_map.rows.view[start:])
            np.clip(fresh, 0, max(0, len(row_map) - 1), out=fresh)  # dead slots of rows that are gone
            positions = old.appended(fresh) if old is not None else Growing.of(fresh)
            same = len(row_map) == len(slot_map) and bool(np.array_equal(positions.view, np.arange(len(slot_map))))
            return _RowOfSlot(slot_map.slots, row_map.numbers, positions, same)

        def refresh(old: _RowOfSlot, _version: int) -> _RowOfSlot | None:
            fits = old.slots.agrees(slot_map.slots, old.slots.length)
            fits = fits and old.numbers.agrees(row_map.numbers, old.numbers.length)
            return compute(old.positions) if fits else None

        key = ("row of slot", entry.id)
        found = self.parts.get(self.session, self.record, key, lambda: compute(None), refresh)
        fits = found.slots.length == len(slot_map) and found.slots.agrees(slot_map.slots, len(slot_map))
        fits = fits and found.numbers.length == len(row_map)
        if not fits or not found.numbers.agrees(row_map.numbers, len(row_map)):
            found = compute(None)
            self.parts.replace(self.session, self.record, key, found)
        return found

    def unknown_fields(self, where: Node | None) -> list[str]:
        """Return the fields of a filter that no row has."""
        if where is None:
            return []
        return sorted(".".join(path) for path in fields(where) if not self.column(path).present)
