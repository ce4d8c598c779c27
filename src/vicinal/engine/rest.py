"""The rows behind codes or behind a structure: few, and compared with every query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.resident import blocks_from
from vicinal.index import BLOCK_ROWS, search_flat, survivors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.engine.resident import Fetcher
    from vicinal.engine.target import Field

_FEW: Final = 4096
"""So many rows are compared at once; more are scanned in blocks."""
_NONE: Final = np.empty(0, np.int64)


class Rest:
    """The rows of a field from position `start` on that pass its mask."""

    def __init__(self, field: Field, start: int, fetch: Fetcher) -> None:
        self._field = field
        self._start = start
        self._fetch = fetch
        self._empty = start >= len(field.slot_map) or (field.mask is not None and not field.mask[start:].any())

    def nearest(self, queries: NDArray[Any], k: int) -> list[NDArray[np.int64]]:
        """Return positions, ascending, among which are the k nearest to each query."""
        if self._empty:
            return [_NONE] * len(queries)
        if len(queries) == 1:
            found = self._at_once(queries[0], k)
            if found is not None:
                return [found]
        field = self._field
        rest = blocks_from(
            self._start, field.view, field.entry, field.spec, field.slot_map, field.mask, self._fetch.held
        )
        found_of = search_flat(rest, queries, field.spec, k, streamed=not self._fetch.complete)
        return [np.sort(positions) for positions, _ in found_of]

    def _at_once(self, query: NDArray[Any], k: int) -> NDArray[np.int64] | None:
        """Return what may be near by float32 numbers; None where the rows are many, or not together in memory."""
        held, start, mask = self._fetch.held, self._start, self._field.mask
        end = len(self._field.slot_map)
        if held.length < end or end - start > _FEW or start // BLOCK_ROWS != (end - 1) // BLOCK_ROWS:
            return None
        rows = held.blocks[-1].vectors.view[start - (end - 1) // BLOCK_ROWS * BLOCK_ROWS :]
        passing = None if mask is None or mask[start:].all() else np.flatnonzero(mask[start:])
        near = survivors(query, rows if passing is None else rows[passing], self._field.spec, k)
        if near is None:
            return None
        return (near if passing is None else passing[near]) + start
