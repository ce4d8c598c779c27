"""Approximate search over codes: candidates of a scan, and the rows that have no code yet, compared exactly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.codes.calibration import DEPTHS, K_FAR
from vicinal.engine.codes.held import masks_of
from vicinal.engine.resident import Fetcher
from vicinal.engine.rest import Rest
from vicinal.index import expected_recall, in_threads, rerank, scan_segments, scan_segments_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.engine.codes.held import Coded
    from vicinal.engine.target import Field, Nearest

Candidates = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Positions and code distances, nearest first."""

_DEEPER: Final = 4
_TELLING: Final = 256
"""From so many candidates on, `expected_recall` tells searches that found what is near from others."""
_ENOUGH: Final = 0.85
"""Of what unfiltered queries are expected to find: below it, a filtered one looks deeper."""
# What `expected_recall` says of unfiltered queries at each of `DEPTHS`, where nothing was measured.
_ASSUMED_EXPECTED: Final = (0.0, 0.1, 0.45, 0.7, 0.88, 0.96, 0.985, 0.99)


class CodeSearch:
    """A field and its codes, ready for queries."""

    def __init__(self, field: Field, coded: Coded) -> None:
        self.field = field
        self.coded = coded
        self.fetch = Fetcher(field.view, field.entry, field.spec, field.slot_map)
        self._rest = Rest(field, coded.length, self.fetch)
        self._far = math.inf if coded.calibration is None else coded.calibration.far

    def one(self, query: NDArray[Any], k: int, depth: int) -> tuple[Nearest, int] | None:
        """Return the nearest to one query, and how many candidates were compared.

        A search under a filter, and one whose answers lie farther away than those that were measured, tells
        from its candidates whether it found what is near, and looks deeper where it did not. None where codes
        cannot tell the rest apart: search exactly.
        """
        if self.field.filtered:
            return self._checked(query, k, depth)
        found = self._scan(query, depth)
        likely = found[0] if self.fetch.whole is not None else np.sort(found[0])  # the file is read in order
        rest = self._rest.nearest(query[None], k)[0]
        positions = np.concatenate([likely, rest]) if len(rest) else likely
        answer = self.fetch.nearest(query, positions, k)
        if is_far(answer, self._far):
            return self._checked(query, k, depth, found)
        return answer, len(positions)

    def _checked(
        self, query: NDArray[Any], k: int, depth: int, found: Candidates | None = None
    ) -> tuple[Nearest, int] | None:
        """Look deeper, from what was `found` at this depth if it was, until the candidates tell that it is enough."""
        depth = max(depth, _TELLING)
        while True:
            if found is None or len(found[0]) < depth:
                found = self._scan(query, depth)
            positions, values = found[0][:depth], found[1][:depth]
            vectors = self.fetch(positions)
            if len(positions) < depth or self._trusts(query, vectors, values, k, depth):
                return self._compared(query, k, positions, vectors)
            depth *= _DEEPER
            if depth > self.field.slot_map.n_live // _DEEPER:
                return None

    def _scan(self, query: NDArray[Any], depth: int) -> Candidates:
        masks = masks_of(self.coded.segments, self.field.mask)
        return scan_segments(self.coded.segments, query, depth, masks, threads=self.field.threads)

    def _compared(
        self, query: NDArray[Any], k: int, positions: NDArray[np.int64], vectors: NDArray[Any]
    ) -> tuple[Nearest, int]:
        """Return the nearest among candidates and the rows without codes."""
        rest = self._rest.nearest(query[None], k)[0]
        if len(rest):
            positions = np.concatenate([positions, rest])
            vectors = np.concatenate([vectors, self.fetch(rest)])
        return rerank(query, positions, lambda _: vectors, self.field.spec, k), len(positions)

    def _trusts(
        self, query: NDArray[Any], vectors: NDArray[Any], values: NDArray[np.float32], k: int, depth: int
    ) -> bool:
        usual = self.coded.calibration.expected if self.coded.calibration is not None else ()
        due = float(np.interp(np.log2(depth), np.log2(DEPTHS), usual or _ASSUMED_EXPECTED))
        return expected_recall(self.coded.codebook, query, vectors, values, k) >= _ENOUGH * due

    def several(self, queries: NDArray[Any], k: int, depth: int) -> tuple[list[Nearest | None], int]:
        """Return what `one` does for each query, and how many candidates were compared for each."""
        if self.field.filtered:
            found = [self._checked(query, k, depth) for query in queries]
            return [None if each is None else each[0] for each in found], max(
                (each[1] for each in found if each), default=0
            )
        masks = masks_of(self.coded.segments, self.field.mask)
        positions, _ = scan_segments_batch(self.coded.segments, queries, depth, masks, threads=self.field.threads)
        rest = self._rest.nearest(queries, k)

        def answer(number: int) -> Nearest:
            here = np.concatenate([np.sort(positions[number]), rest[number]])
            return self.fetch.nearest(queries[number], here, k)

        threads = self.field.threads if self.fetch.complete else 1  # the file is read in this thread alone
        answers: list[Nearest | None] = list(in_threads(answer, range(len(queries)), threads))
        for number, nearest in enumerate(answers):
            if nearest is not None and is_far(nearest, self._far):
                checked = self._checked(queries[number], k, depth)
                answers[number] = None if checked is None else checked[0]
        return answers, positions.shape[1]


def is_far(answer: Nearest, far: float) -> bool:
    """Return whether the tenth nearest of an answer, or the last, is farther away than `far`."""
    distances = answer[1]
    return bool(len(distances)) and float(distances[:K_FAR][-1]) > far
