"""Approximate search over codes: candidates of a scan, and the rows that have no code yet, compared exactly."""

from __future__ import annotations

import math
from itertools import chain
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
_NEARLY_TELLING: Final = 192
_HARDER: Final = 1.25
"""Rows that pass a filter may lie farther away than those that were measured, and codes tell these apart less well."""
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
            return self._checked(query[None], k, depth)[0]
        found = self._scan(query, depth)
        positions = self._together(found[0], self._rest.nearest(query[None], k)[0])
        answer = self.fetch.nearest(query, positions, k)
        if is_far(answer, self._far):
            return self._checked(query[None], k, depth, [found])[0]
        return answer, len(positions)

    def _together(self, likely: NDArray[np.int64], rest: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return all positions to compare."""
        if self.fetch.whole is None:
            likely = np.sort(likely)  # the file is read in order
        return np.concatenate([likely, rest]) if len(rest) else likely

    def _checked(
        self, queries: NDArray[Any], k: int, depth: int, found: list[Candidates] | None = None
    ) -> list[tuple[Nearest, int] | None]:
        """Look deeper, from what was `found` at this depth if it was, until the candidates tell that it is enough."""
        if found is None or depth < _NEARLY_TELLING:
            depth = max(math.ceil(depth * _HARDER), _TELLING)
            found = self._scans(queries, depth)
        answers: list[tuple[Nearest, int] | None] = [None] * len(queries)
        left = list(range(len(queries)))
        while True:
            for at, number in enumerate(left):
                positions, values = found[at][0][:depth], found[at][1][:depth]
                vectors = self.fetch(positions)
                if len(positions) < depth or self._trusts(queries[number], vectors, values, k, depth):
                    answers[number] = self._compared(queries[number], k, positions, vectors)
            left = [number for number in left if answers[number] is None]
            depth *= _DEEPER
            if not left or depth > self.field.slot_map.n_live // _DEEPER:
                return answers
            found = self._scans(queries[left], depth)

    def _scans(self, queries: NDArray[Any], depth: int) -> list[Candidates]:
        if len(queries) == 1 or self.field.filtered:
            return [self._scan(query, depth) for query in queries]
        masks = masks_of(self.coded.segments, self.field.mask)
        found = scan_segments_batch(self.coded.segments, queries, depth, masks, threads=self.field.threads)
        return list(zip(*found, strict=True))

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
            found = self._checked(queries, k, depth)
            return [None if each is None else each[0] for each in found], max(
                (each[1] for each in found if each), default=0
            )
        masks = masks_of(self.coded.segments, self.field.mask)
        positions, values = scan_segments_batch(self.coded.segments, queries, depth, masks, threads=self.field.threads)
        answers: list[Nearest | None] = [*self._nearest(queries, positions, k)]
        far = [number for number, nearest in enumerate(answers) if nearest is not None and is_far(nearest, self._far)]
        if far:
            again = self._checked(queries[far], k, depth, list(zip(positions[far], values[far], strict=True)))
            for number, checked in zip(far, again, strict=True):
                answers[number] = None if checked is None else checked[0]
        return answers, positions.shape[1]

    def _nearest(self, queries: NDArray[Any], positions: NDArray[np.int64], k: int) -> list[Nearest]:
        """Return the nearest to each query among its positions (nq, n) and the rows without codes."""
        rest, numbers = self._rest.nearest(queries, k), range(len(queries))
        threads = self.field.threads if self.fetch.complete else 1  # the file is read in this thread alone
        if self.fetch.whole is None or any(map(len, rest)):

            def one(number: int) -> Nearest:
                return self.fetch.nearest(queries[number], self._together(positions[number], rest[number]), k)

            return in_threads(one, numbers, threads)

        def some(part: NDArray[np.int64]) -> list[Nearest]:
            return self.fetch.nearest_all(queries[part], positions[part], k)

        parts = np.array_split(numbers, max(1, min(threads, len(queries))))
        return list(chain.from_iterable(in_threads(some, parts, threads)))


def is_far(answer: Nearest, far: float) -> bool:
    """Return whether the tenth nearest of an answer, or the last, is farther away than `far`."""
    distances = answer[1]
    return bool(len(distances)) and float(distances[:K_FAR][-1]) > far
