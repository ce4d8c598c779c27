"""The rows of a collection in memory: which there are, and where each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vicinal.engine.growing import Growing, renewed
from vicinal.storage import rows
from vicinal.storage.schema import BLOCK_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.storage.session import Session

_MUCH_DEAD: Final = 0.5
_FEW: Final = 4096


@dataclass(frozen=True, slots=True)
class RowMap:
    """Positions 0..n-1 in the order of row numbers. numbers: int64, ascending. existing: bool."""

    numbers: Growing[np.int64]
    existing: Growing[np.bool_]
    n_rows: int

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Whether the row of each position is there."""
        return self.existing.view

    def __len__(self) -> int:
        return self.numbers.length

    def positions(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of row numbers that the map holds."""
        known = self.numbers.view
        if len(known) and int(known[-1]) - int(known[0]) + 1 == len(known):
            return numbers - int(known[0])
        return np.searchsorted(known, numbers)


def load(session: Session, collection: int) -> RowMap:
    """Read the numbers of all rows. Cost: about 50 ms per million."""
    numbers = rows.numbers(session, collection)
    return RowMap(Growing.of(numbers), Growing.of(np.ones(len(numbers), np.bool_)), len(numbers))


def refresh(old: RowMap, version: int, session: Session, collection: int) -> RowMap | None:
    """Return `old`, made at `version`, brought up to the session's snapshot; None to load anew."""
    blocks = rows.changed_blocks(session, collection, version)
    numbers = old.numbers
    seen, tail, known = {}, [], numbers.view
    last = int(known[-1]) if len(known) else -1
    for low, high in ranges(blocks):
        found = rows.numbers(session, collection, low, high)
        start, end = (int(at) for at in np.searchsorted(known, (low, high)))
        seen[start, end] = np.isin(known[start:end], found, assume_unique=True)
        fresh = found[found > last]
        if len(fresh):
            numbers = numbers.appended(fresh)
            tail.append(np.ones(len(fresh), np.bool_))
    existing, gained = renewed(old.existing, seen, tail)
    if existing.length > _FEW and old.n_rows + gained < _MUCH_DEAD * existing.length:
        return None
    return RowMap(numbers, existing, old.n_rows + gained)


def ranges(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Return row ranges [low, high) that cover ascending block numbers, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for block in blocks:
        low, high = block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS
        if ranges and ranges[-1][1] == low:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
    return ranges
