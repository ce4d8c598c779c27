"""Approximate search over codes: candidates of a scan, and the rows that have no code yet, compared exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.calibration import DEPTHS
from vicinal.engine.coded import masks_of
from vicinal.engine.resident import Fetcher, blocks_from
from vicinal.index import expected_recall, in_threads, rerank, scan_segments, scan_segments_batch, search_flat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.engine.coded import Coded
    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

Nearest = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Positions and distances, sorted by (distance, position), ties with the k-th included."""

_DEEPER: Final = 4
_TELLING: Final = 256
"""From so many candidates on, `expected_recall` tells searches that found what is near from others."""
_ENOUGH: Final = 0.85
"""Of what unfiltered queries are expected to find: below it, a filtered one looks deeper."""
# What `expected_recall` says of unfiltered queries at each of `DEPTHS`, where nothing was measured.
_ASSUMED_EXPECTED: Final = (0.0, 0.1, 0.45, 0.7, 0.88, 0.96, 0.985, 0.99)


@dataclass(frozen=True, slots=True)
class Field:
    """A vector field under one mask over positions (None for all); `filtered` by the caller's filter."""

    view: View
    entry: FieldRecord
    spec: VectorSpec
    slot_map: SlotMap
    mask: NDArray[np.bool_] | None
    filtered: bool
    threads: int


class CodeSearch:
    """A field and its codes, ready for queries."""

    def __init__(self, field: Field, coded: Coded) -> None:
        self.field = field
        self.coded = coded
        self.fetch = Fetcher(field.view, field.entry, field.spec, field.slot_map)

    def one(self, query: NDArray[Any], k: int, depth: int) -> tuple[Nearest, int] | None:
        """Return the nearest to one query, and how many candidates were compared.

        None where a filter excludes what is near, so that codes cannot tell the rest apart: search exactly.
        """
        masks = masks_of(self.coded.segments, self.field.mask)
        depth = max(depth, _TELLING) if self.field.filtered else depth
        while True:
            positions, values = scan_segments(self.coded.segments, query, depth, masks, threads=self.field.threads)
            if not self.field.filtered:
                positions = np.sort(positions)  # memory is read in order
            vectors = self.fetch(positions)
            if not self.field.filtered or len(positions) < depth or self._trusts(query, vectors, values, k, depth):
                break
            depth *= _DEEPER
            if depth > self.field.slot_map.n_live // _DEEPER:
                return None
        tail = self._tail(query[None], k)[0]
        if len(tail):
            positions = np.concatenate([positions, tail])
            vectors = np.concatenate([vectors, self.fetch(tail)])
        return rerank(query, positions, lambda _: vectors, self.field.spec, k), len(positions)

    def _trusts(
        self, query: NDArray[Any], vectors: NDArray[Any], values: NDArray[np.float32], k: int, depth: int
    ) -> bool:
        usual = self.coded.calibration.expected if self.coded.calibration is not None else ()
        due = float(np.interp(np.log2(depth), np.log2(DEPTHS), usual or _ASSUMED_EXPECTED))
        return expected_recall(self.coded.codebook, query, vectors, values, k) >= _ENOUGH * due

    def several(self, queries: NDArray[Any], k: int, depth: int) -> tuple[list[Nearest], int]:
        """Return the nearest to each query, and how many candidates were compared for each."""
        masks = masks_of(self.coded.segments, self.field.mask)
        found, _ = scan_segments_batch(self.coded.segments, queries, depth, masks, threads=self.field.threads)
        tails = self._tail(queries, k)
        fetch = self.fetch if self.fetch.complete else None

        def answer(number: int) -> Nearest:
            positions = np.concatenate([found[number], tails[number]]) if len(tails[number]) else found[number]
            return rerank(queries[number], positions, self.fetch, self.field.spec, k)

        threads = self.field.threads if fetch is not None else 1  # the file is read in this thread alone
        return in_threads(answer, range(len(queries)), threads), found.shape[1]

    def _tail(self, queries: NDArray[Any], k: int) -> list[NDArray[np.int64]]:
        """Return the positions of the nearest rows without codes, for each query."""
        start = self.coded.length
        if start >= len(self.field.slot_map) or (self.field.mask is not None and not self.field.mask[start:].any()):
            return [np.empty(0, np.int64)] * len(queries)
        field = self.field
        rest = blocks_from(start, field.view, field.entry, field.spec, field.slot_map, field.mask, self.fetch.held)
        nearest = search_flat(rest, queries, self.field.spec, k, streamed=not self.fetch.complete)
        return [positions for positions, _ in nearest]
