"""Rows one by one into batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from vicinal.errors import InvalidInput
from vicinal.exchange.batch import BATCH_BYTES, Batch

if TYPE_CHECKING:
    from datetime import datetime

    from vicinal.exchange.batch import VectorColumn
    from vicinal.values import Id

__all__ = ["Gathering", "OneRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRow:
    """One row as read. `number` is its line or position."""

    number: int
    id: object = None
    document: str | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    vectors: dict[str, object] = field(default_factory=dict)
    expires: datetime | None = None


class Gathering:
    """Collects rows until a batch is full.

    Ids are an all or nothing: a source whose rows have ids must give one to every row, because rows
    without would be stored again by the next import.
    """

    def __init__(self, size: int, source: str, unit: str) -> None:
        self.size = size
        self.source = source
        self.unit = unit
        self._rows: list[OneRow] = []
        self._bytes = 0
        self._has_ids: bool | None = None

    @property
    def full(self) -> bool:
        """Whether the batch should be taken now."""
        return len(self._rows) >= self.size or self._bytes >= BATCH_BYTES

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: OneRow, n_bytes: int) -> None:
        """Add a row that took `n_bytes` of its source."""
        if self._has_ids is None:
            self._has_ids = row.id is not None
        if self._has_ids != (row.id is not None):
            has = (
                "has no id, though the rows before it have" if self._has_ids else "has an id, the rows before it do not"
            )
            message = f"{self.source}, {self.unit} {row.number}: this row {has}"
            raise InvalidInput(message)
        self._rows.append(row)
        self._bytes += n_bytes

    def take(self, done: float) -> Batch:
        """Return what was collected and begin anew."""
        rows, self._rows, self._bytes = self._rows, [], 0
        names = dict.fromkeys(name for row in rows for name in row.vectors)
        vectors: dict[str, VectorColumn] = {name: [row.vectors.get(name) for row in rows] for name in names}
        return Batch(
            numbers=[row.number for row in rows],
            unit=self.unit,
            ids=[cast("Id", row.id) for row in rows] if self._has_ids else None,
            documents=[row.document for row in rows] if any(row.document is not None for row in rows) else None,
            metadata=[row.metadata for row in rows] if any(row.metadata for row in rows) else None,
            vectors=vectors or None,
            expires=[row.expires for row in rows] if any(row.expires is not None for row in rows) else None,
            done=done,
        )
