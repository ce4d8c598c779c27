"""One change to one collection, as part of the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vicinal.errors import SpecMismatch
from vicinal.storage import catalog, chunks, rows
from vicinal.storage.rows import NO_SLOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from vicinal.batch import FieldVectors
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.session import Session


class Change:
    """Collects what a write does, and publishes it under one new version with `finish`.

    Must live inside `session.writing()`.
    """

    def __init__(self, session: Session, record: CollectionRecord) -> None:
        self.session = session
        self.record = record
        self.version = record.version + 1
        self._touched: list[NDArray[np.int64]] = []
        self._dead: dict[int, list[int]] = {}
        self._appended: list[tuple[int, int, NDArray[np.generic], NDArray[np.int64]]] = []

    def take_rows(self, n: int) -> NDArray[np.int64]:
        """Return `n` new row numbers."""
        first = self.record.next_row
        self.record = replace(self.record, next_row=first + n)
        return np.arange(first, first + n, dtype=np.int64)

    def place(self, slots: NDArray[np.int64], numbers: NDArray[np.int64], vectors: dict[str, FieldVectors]) -> None:
        """Give vectors new slots, put these into `slots` (n rows, fields); `finish` writes them."""
        for name, given in vectors.items():
            entry = self._field(name)
            if entry.dim is None:
                self._replace(replace(entry, dim=given.dim))
            elif entry.dim != given.dim:
                message = f"the vectors have {given.dim} dimensions, the field {name!r} has {entry.dim}"
                raise SpecMismatch(message)
            slots[given.rows, entry.ordinal] = self.append(name, given.vectors, numbers[given.rows])

    def append(self, name: str, vectors: NDArray[np.generic], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give vectors of rows new slots of a field, to be written by `finish`; return the slots."""
        entry = self._field(name)
        end = entry.next_slot + len(vectors)
        self._appended.append((entry.id, entry.next_slot, vectors, numbers))
        self._replace(replace(entry, next_slot=end))
        return np.arange(entry.next_slot, end)

    def _field(self, name: str) -> FieldRecord:
        found = self.record.field_named(name)
        assert found is not None  # noqa: S101 - batches are prepared from this collection's fields
        return found

    def _replace(self, entry: FieldRecord) -> None:
        fields = tuple(entry if known.id == entry.id else known for known in self.record.fields)
        self.record = replace(self.record, fields=fields)

    def blank_slots(self, n: int) -> NDArray[np.int64]:
        """Return slots of `n` rows without vectors: shape (n, fields)."""
        return np.full((n, len(self.record.fields)), NO_SLOT, np.int64)

    def retire(self, slots: Iterable[tuple[int, ...]]) -> None:
        """Mark the slots of rows (one tuple a row) as dead."""
        for row in slots:
            for entry, slot in zip(self.record.fields, row, strict=True):
                self.retire_slot(entry.id, slot)

    def retire_slot(self, field: int, slot: int) -> None:
        """Mark one slot as dead."""
        if slot != NO_SLOT:
            self._dead.setdefault(field, []).append(slot)

    def touch(self, numbers: NDArray[np.int64]) -> None:
        """Record that these rows changed."""
        self._touched.append(np.asarray(numbers, np.int64))

    def finish(self) -> CollectionRecord:
        """Write what remains and return the record under its new version."""
        for field, first, vectors, numbers in self._appended:
            chunks.append(self.session, field, first, vectors, numbers, self.version)
        for field, slots in self._dead.items():
            chunks.kill(self.session, field, np.array(slots, np.int64), self.version)
        if self._touched:
            rows.touch(self.session, self.record.id, np.concatenate(self._touched), self.version)
        return catalog.save(self.session, self.record)


def packed_rows(slots: NDArray[np.int64]) -> list[bytes]:
    """Return `slots` (n rows, fields) as the stored bytes of each row."""
    width = slots.shape[1] * 8
    data = slots.astype("<i8", copy=False).tobytes()
    return [data[start : start + width] for start in range(0, len(data), width)] if width else [b""] * len(slots)
