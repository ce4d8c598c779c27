"""One thread's share of an exact search: which rows of a stretch may be among the nearest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.index.block import Block, Fetch
from vicinal.index.candidates import Candidates
from vicinal.index.codes import Bits, Codes, MinimumL1
from vicinal.index.kernels import DirectL1, DirectL2, Kernel, Products, bounds_of
from vicinal.index.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.vectors import VectorSpec

__all__ = ["GATHER_SHARE", "Passing", "Scan", "kernel_for", "kth_bound", "passing_rows", "uses_products"]

GATHER_SHARE = 0.1
"""Where a smaller share of the rows passes the mask, those rows are copied out and scanned alone."""
_INFINITY = np.float32(np.inf)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_UNDERFLOW = 2.0**-148
"""Numbers that differ by less may be one float32."""
_EIGHT_TRUE = np.uint64(0x0101010101010101)
_BATCH_DECODES = 8
"""From this many queries, decoding f16 and i8 rows for a matrix product is cheaper than scans."""


def _fits_storage(queries: NDArray[Any], spec: VectorSpec) -> bool:
    """Return whether the queries are values of the stored type, as parsed queries are."""
    if queries.dtype == spec.storage_dtype:
        return True
    with np.errstate(all="ignore"):
        return bool((queries.astype(spec.storage_dtype).astype(queries.dtype) == queries).all())


def uses_products(queries: NDArray[Any], spec: VectorSpec) -> bool:
    """Return whether the raw numbers come from matrix products, which BLAS may share between threads."""
    if spec.metric in ("l1", "hamming"):
        return False
    if spec.dtype == "f32" or len(queries) >= _BATCH_DECODES:
        return True
    return spec.dtype == "i8" and not _fits_storage(queries, spec)


def kernel_for(queries: NDArray[Any], spec: VectorSpec) -> Kernel:
    """Return the fastest kernel for these queries; one object serves one thread."""
    if spec.metric == "hamming":
        return Bits(queries, spec)
    floats = queries.astype(np.float32)
    if spec.metric == "l1":
        by_minima = spec.dtype == "i8" and _fits_storage(queries, spec)
        return MinimumL1(floats, spec) if by_minima else DirectL1(floats, spec)
    if not uses_products(queries, spec):
        return Codes(floats, spec)
    if spec.metric == "l2" and spec.dtype != "f32":
        return DirectL2(floats, spec)
    return Products(floats, spec)


@dataclass(frozen=True, slots=True)
class Passing:
    """The rows of a stretch to compare: all, those under `mask`, or a copy of the few `rows` that pass."""

    block: Block
    mask: NDArray[np.bool_] | None
    rows: NDArray[np.int64] | None


def passing_rows(span: Block) -> Passing | None:
    """Return the rows of a stretch that its mask lets pass, None where it lets none."""
    mask = span.mask
    if mask is None:
        return Passing(span, None, None)
    count = int(np.count_nonzero(mask))
    if count == 0:
        return None
    if count == len(mask):
        return Passing(span, None, None)
    if count >= GATHER_SHARE * len(mask):
        return Passing(span, mask, None)
    rows = np.flatnonzero(mask)
    norms = None if span.norms is None else span.norms[rows]
    return Passing(Block(span.first, span.vectors[rows], norms), None, rows)


class Scan:
    """One thread's share of a search."""

    __slots__ = ("_all_queries", "_queries", "candidates", "kernel")

    def __init__(self, queries: NDArray[Any], spec: VectorSpec, k: int, fetch: Fetch | None = None) -> None:
        self._queries = queries
        self.kernel: Kernel = kernel_for(queries, spec)
        self._all_queries = np.arange(len(queries))
        self.candidates = Candidates(queries, spec, k, fetch)

    def span(self, span: Block) -> None:
        """Add the candidates of one stretch of rows."""
        passing = passing_rows(span)
        if passing is not None:
            self.choose(passing, self._run(passing.block))

    def compare(self, block: Block, rows: NDArray[np.int64]) -> None:
        """Add the candidates among few rows of a block."""
        norms = None if block.norms is None else block.norms[rows]
        part = Block(block.first, block.vectors[rows], norms)
        self.choose(Passing(part, None, rows), self._run(part))

    def another_kernel(self) -> Kernel:
        """Return a kernel like the present one, for another thread."""
        if isinstance(self.kernel, (Products, DirectL1, DirectL2)):  # which change nothing of their own as they run
            return self.kernel
        return kernel_for(self._queries, self.candidates.spec)

    def choose(self, passing: Passing, raw: NDArray[np.float32]) -> None:
        """Add the candidates among rows whose raw numbers (nq, n) are known."""
        block = passing.block
        query, row, bounds = self._narrow(block, passing.mask, raw)
        if not len(query):
            return
        position = (row if passing.rows is None else passing.rows[row]) + block.first
        if len(query) <= self._few():
            self.candidates.add_bounded(query, position, bounds, block.vectors, row)
        else:
            self._compare(block, query, row, position)

    def nearest_of(
        self, blocks: Sequence[Block], raw: NDArray[np.float32], fetch: Fetch
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Return positions and distances of the rows that may be among the nearest to one query.

        raw: numbers (1, n) of all rows of the blocks. One choice for all costs less than one per block.
        Returns None where the bounds leave too many rows: a choice per block has more ways to tell them apart.
        """
        widest = np.zeros(1)
        if self.candidates.spec.metric in ("dot", "l2"):  # whose bounds grow with the rows
            widest = np.max([_largest(block.norms) for block in blocks], axis=0)
        rows = np.flatnonzero(~(raw[0] > self._cut(raw, widest)))  # a NaN has to stay
        if len(rows) > self._few():
            return None
        starts = list(accumulate((len(block.vectors) for block in blocks[:-1]), initial=0))
        shift = np.array([block.first - start for block, start in zip(blocks, starts, strict=True)])
        positions = rows + shift[np.searchsorted(starts, rows, "right") - 1]
        return positions, self.candidates.exact(rows, fetch(positions))

    def _few(self) -> int:
        return len(self._all_queries) * (8 * self.candidates.k + 256)

    def _narrow(
        self, span: Block, mask: NDArray[np.bool_] | None, raw: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return pairs (query number, row) that may be among the nearest, and their bounds."""
        while True:
            query, row = _below(raw, self._cuts(raw, span.norms, mask), mask)
            bounds = self._bounds(raw, span.norms, query, row)
            few = len(query) <= self._few()
            if not few:
                query, row, bounds = self._tightened(query, row, bounds)
                few = len(query) <= self._few()
            if few or not isinstance(self.kernel, Products) or not self._direct():
                return query, row, bounds
            raw = self._run(span)

    def _direct(self) -> bool:
        """Switch l2 from products to differences, whose bound knows no offset."""
        candidates = self.candidates
        if candidates.spec.metric != "l2" or len(self._all_queries) > _BATCH_DECODES:
            return False
        self.kernel = DirectL2(candidates.queries.astype(np.float32), candidates.spec)
        return True

    def _run(self, span: Block) -> NDArray[np.float32]:
        shape = (len(self._all_queries), len(span.vectors))
        raw = scratch("raw", shape, np.float32)
        self.kernel.run(span.vectors, span.norms, raw)
        return raw

    def _cuts(
        self,
        raw: NDArray[np.float32],
        norms: NDArray[np.float32] | None,
        mask: NDArray[np.bool_] | None,
    ) -> NDArray[np.float32]:
        """Return the largest raw number (nq,) that a row worth keeping can have."""
        kernel, limit = self.kernel, self.candidates.limit
        slack = kernel.slack(_largest(norms), self._all_queries)
        fresh = np.isinf(limit)
        # Infinite times zero, and infinite minus infinite: nothing is known, every row is kept.
        with np.errstate(invalid="ignore", over="ignore"):
            if fresh.any():
                kth = kth_bound(raw if fresh.all() else raw[fresh], self.candidates.k, mask)
                value = kernel.offset[fresh] + kernel.scale[fresh] * kth
                limit = limit.copy()
                limit[fresh] = value + slack[fresh] + 2.0 * kernel.relative * np.abs(value)
                # Nothing is known about ties yet: leave room for them.
                limit[fresh] += 2.0**-20 * np.abs(limit[fresh]) + _UNDERFLOW
            value = limit + slack + 2.0 * kernel.relative * np.abs(limit)
            cuts = ((value - kernel.offset) / kernel.scale).astype(np.float32)
        cuts[np.isnan(cuts)] = np.inf
        result: NDArray[np.float32] = np.nextafter(np.nextafter(cuts, _INFINITY), _INFINITY)
        return result

    def _cut(self, raw: NDArray[np.float32], widest: NDArray[np.float64]) -> np.float32:
        """Return what `_cuts` does, for one query and no mask: numbers cost less than arrays of one."""
        kernel, limit = self.kernel, float(self.candidates.limit[0])
        offset, scale = float(kernel.offset[0]), float(kernel.scale[0])
        slack = float(kernel.slack(widest, self._all_queries)[0])
        if math.isinf(limit):
            value = offset + scale * float(kth_bound(raw, self.candidates.k, None)[0])
            limit = value + slack + 2.0 * kernel.relative * abs(value)
            limit += 2.0**-20 * abs(limit) + _UNDERFLOW
        cut = (limit + slack + 2.0 * kernel.relative * abs(limit) - offset) / scale
        if not cut < _FLOAT32_MAX:
            return _INFINITY
        above: np.float32 = np.nextafter(np.nextafter(np.float32(cut), _INFINITY), _INFINITY)
        return above

    def _bounds(
        self,
        raw: NDArray[np.float32],
        norms: NDArray[np.float32] | None,
        query: NDArray[np.int64],
        row: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        each = np.zeros(len(row)) if norms is None else norms[row].astype(np.float64)
        return bounds_of(self.kernel, raw[query, row], each, query)

    def _tightened(
        self,
        query: NDArray[np.int64],
        row: NDArray[np.int64],
        bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Drop pairs by their own bounds: one huge row widens the common slack of all."""
        keep = self.candidates.within(query, bounds)
        return query[keep], row[keep], (bounds[0][keep], bounds[1][keep])

    def _compare(
        self,
        span: Block,
        query: NDArray[np.int64],
        row: NDArray[np.int64],
        position: NDArray[np.int64],
    ) -> None:
        """Compare many pairs directly, a bounded number at a time."""
        for start in range(0, len(query), 4096):
            part = slice(start, start + 4096)
            distance = self.candidates.exact(query[part], span.vectors[row[part]])
            self.candidates.add_exact(query[part], position[part], distance)


def _below(
    raw: NDArray[np.float32], cuts: NDArray[np.float32], mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs (query number, row) of raw numbers that are not above the cuts."""
    out = scratch("below", raw.shape, np.bool_)
    np.greater(raw, cuts[:, None], out=out)  # not "<=" of the rest: an unknown value (NaN) has to stay
    if mask is not None:
        out |= ~mask
    query, row = np.divmod(_false_in(out.reshape(-1)), raw.shape[1])
    return query, row


def _false_in(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where flags (n,) are false, ascending; where few are, eight at a time are passed over."""
    words = len(flags) // 8
    found = np.flatnonzero(flags[: words * 8].view(np.uint64) != _EIGHT_TRUE)
    places = np.concatenate([(found[:, None] * 8 + np.arange(8)).ravel(), np.arange(words * 8, len(flags))])
    left: NDArray[np.int64] = places[~flags[places]]
    return left


def _largest(norms: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Return the largest finite norm, as an array that broadcasts."""
    if norms is None:
        return np.zeros(1)
    with np.errstate(invalid="ignore"):
        largest = float(norms.max(initial=0.0))
    if not np.isfinite(largest):
        largest = float(norms[np.isfinite(norms)].max(initial=0.0))
    return np.array([largest])


def kth_bound(raw: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return for each query a number that at least k rows do not exceed; inf if fewer pass."""
    n = raw.shape[1] if mask is None else int(np.count_nonzero(mask))
    if n <= k:
        return np.full(len(raw), np.inf)
    if mask is not None:
        raw = raw[:, mask]
    size = max(16, n // 4096)
    groups = n // size
    if groups >= 4 * k:
        # The k-th smallest of group minima belongs to k different rows.
        raw = raw[:, : groups * size].reshape(len(raw), size, groups).min(axis=1)
    kth = np.partition(raw, k - 1, axis=1)[:, k - 1].astype(np.float64)
    return np.where(np.isnan(kth), np.inf, kth)
