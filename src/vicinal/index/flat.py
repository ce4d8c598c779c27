"""Exact search by scanning blocks: the twin every approximate index is measured against.

Each stretch of rows goes through a float32 kernel with a proven error bound (`kernels`, `codes`).
Rows whose bounds allow them among the k nearest are kept (`candidates`) and compared at the end
by the direct float64 distance. The k-th best upper bound so far is a running threshold, so that
all but the first stretch cost one comparison per row. Where the bound is too loose to tell rows
apart (a large offset common to all vectors), the rows that remain are compared directly.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import InvalidInput
from vicinal.index.block import Block
from vicinal.index.candidates import Candidates, Hits
from vicinal.index.codes import Bits, Codes, MinimumL1
from vicinal.index.kernels import DirectL1, DirectL2, Kernel, Products
from vicinal.index.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from vicinal.vectors import VectorSpec

__all__ = ["search_flat"]

_SCRATCH_ELEMENTS = 1 << 20
"""Raw numbers held at once per thread: 4 MB; for batches, whose matrix products gain from it, 8 MB."""
_GATHER_SHARE = 0.1
"""Where a smaller share of the rows passes the mask, those rows are copied out and scanned alone."""
_BATCH_DECODES = 8
"""From this many queries, decoding f16 and i8 rows for a matrix product is cheaper than scans."""
_THREAD_BYTES = 4 << 20
_THREAD_ROWS = 8192
"""Rows worth a thread."""


def search_flat(
    blocks: Iterable[Block],
    queries: NDArray[Any],
    spec: VectorSpec,
    k: int,
    *,
    threads: int = 1,
    streamed: bool = False,
) -> Hits:
    """Return the k nearest rows of each query (nq, width): positions int64, distances float32.

    Exact: the order is that of the direct float64 distance rounded to float32. Sorted by
    (distance, position); every row tied with the k-th is included, so there may be more than k;
    there are fewer when fewer pass the masks. `queries` are in storage type, or float32 numbers.

    `streamed=True` promises nothing about a block's arrays once the next block is asked for: they
    are read in the calling thread, one block at a time. Otherwise up to `threads` threads share
    the rows; matrix products (batches) leave that to a BLAS that has threads of its own. Memory:
    some megabytes per thread plus the candidates.

    >>> from vicinal.vectors import VectorSpec
    >>> block = Block(0, np.float32([[0, 0], [3, 4], [1, 0]]))
    >>> search_flat([block], np.float32([[0, 0]]), VectorSpec(dim=2, metric="l1"), k=2)
    [(array([0, 2]), array([0., 1.], dtype=float32))]
    """
    queries = np.ascontiguousarray(queries)
    if queries.ndim != 2 or queries.shape[1] != spec.width:
        raise InvalidInput(f"expected queries of shape (n, {spec.width}), got {queries.shape}")
    if k <= 0 or not len(queries):
        return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    workers, total = 1, 0
    if not streamed:
        blocks = list(blocks)
        total = sum(block.vectors.nbytes for block in blocks)
        workers = min(threads, max(1, total // _THREAD_BYTES))
        if workers > 1 and len(queries) > 1 and _blas_threads() > 1 and _uses_products(queries, spec):
            workers = 1
    rows = max(1024, _scratch(queries) // len(queries))
    if workers > 1:
        rows = min(rows, max(_THREAD_ROWS, -(-total // (spec.row_bytes * workers * 2))))
    spans = _spans(blocks, rows)
    if workers == 1:
        scan = _Scan(queries, spec, k)
        for span in spans:
            scan.span(span)
        return scan.candidates.finish()
    return _in_threads(spans, [_Scan(queries, spec, k) for _ in range(workers)])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "vicinal-flat")


os.register_at_fork(after_in_child=_pool.cache_clear)


def _scratch(queries: NDArray[Any]) -> int:
    return _SCRATCH_ELEMENTS * (1 if len(queries) == 1 else 2)


def _in_threads(spans: Iterator[Block], scans: list[_Scan]) -> Hits:
    lock = threading.Lock()

    def work(scan: _Scan) -> None:
        while True:
            with lock:
                span = next(spans, None)
            if span is None:
                return
            scan.span(span)

    for scan in scans[1:]:  # one threshold for all; a lost update only costs a few candidates
        scan.candidates.limit = scans[0].candidates.limit
    pool = _pool(len(scans) - 1)
    others = [pool.submit(work, scan) for scan in scans[1:]]
    try:
        work(scans[0])
    finally:
        wait(others)
    for other in others:
        other.result()
    for scan in scans[1:]:
        scans[0].candidates.merge(scan.candidates)
    return scans[0].candidates.finish()


def _spans(blocks: Iterable[Block], rows: int) -> Iterator[Block]:
    """Yield views of at most `rows` rows."""
    for block in blocks:
        for start in range(0, len(block.vectors), rows):
            part = slice(start, start + rows)
            yield Block(
                block.first + start,
                block.vectors[part],
                None if block.norms is None else block.norms[part],
                None if block.mask is None else block.mask[part],
            )


def _blas_threads() -> int:
    """Return how many threads NumPy's BLAS uses, as far as the environment tells."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return os.cpu_count() or 1


def _fits_storage(queries: NDArray[Any], spec: VectorSpec) -> bool:
    """Return whether the queries are values of the stored type, as parsed queries are."""
    if queries.dtype == spec.storage_dtype:
        return True
    with np.errstate(all="ignore"):
        return bool((queries.astype(spec.storage_dtype).astype(queries.dtype) == queries).all())


def _uses_products(queries: NDArray[Any], spec: VectorSpec) -> bool:
    if spec.metric in ("l1", "hamming"):
        return False
    if spec.dtype == "f32" or len(queries) >= _BATCH_DECODES:
        return True
    return spec.dtype == "i8" and not _fits_storage(queries, spec)


def _kernel(queries: NDArray[Any], spec: VectorSpec) -> Kernel:
    if spec.metric == "hamming":
        return Bits(queries, spec)
    floats = queries.astype(np.float32)
    if spec.metric == "l1":
        if spec.dtype == "f32" or not _fits_storage(queries, spec):
            return DirectL1(floats, spec)
        return MinimumL1(floats, spec)
    if not _uses_products(queries, spec):
        return Codes(floats, spec)
    if spec.metric == "l2" and spec.dtype != "f32":
        return DirectL2(floats, spec)
    return Products(floats, spec)


class _Scan:
    """One thread's share of a search."""

    __slots__ = ("_all_queries", "_kernel", "candidates")

    def __init__(self, queries: NDArray[Any], spec: VectorSpec, k: int) -> None:
        self._kernel = _kernel(queries, spec)
        self._all_queries = np.arange(len(queries))
        self.candidates = Candidates(queries, spec, k)

    def span(self, span: Block) -> None:
        """Add the candidates of one stretch of rows."""
        mask = span.mask
        passing = None
        if mask is not None:
            count = int(np.count_nonzero(mask))
            if count == 0:
                return
            if count == len(mask):
                mask = None
            elif count < _GATHER_SHARE * len(mask):
                passing = np.flatnonzero(mask)
                norms = None if span.norms is None else span.norms[passing]
                span, mask = Block(span.first, span.vectors[passing], norms), None
        query, row, bounds = self._narrow(span, mask)
        if not len(query):
            return
        position = (row if passing is None else passing[row]) + span.first
        if len(query) <= self._few():
            self.candidates.add_bounded(query, position, bounds, span.vectors[row])
        else:
            self._compare(span, query, row, position)

    def _few(self) -> int:
        return len(self._all_queries) * (8 * self.candidates.k + 256)

    def _narrow(
        self, span: Block, mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return pairs (query number, row) that may be among the nearest, and their bounds."""
        while True:
            raw = self._run(span)
            query, row = self._below(raw, self._cuts(raw, span.norms, mask), mask)
            bounds = self._bounds(raw, span.norms, query, row)
            few = len(query) <= self._few()
            if not few:
                query, row, bounds = self._tightened(query, row, bounds)
                few = len(query) <= self._few()
            if few or not isinstance(self._kernel, Products) or not self._direct():
                return query, row, bounds

    def _direct(self) -> bool:
        """Switch l2 from products to differences, whose bound knows no offset."""
        candidates = self.candidates
        if candidates.spec.metric != "l2" or len(self._all_queries) > _BATCH_DECODES:
            return False
        self._kernel = DirectL2(candidates.queries.astype(np.float32), candidates.spec)
        return True

    def _run(self, span: Block) -> NDArray[np.float32]:
        shape = (len(self._all_queries), len(span.vectors))
        raw = scratch("raw", shape, np.float32)
        self._kernel.run(span.vectors, span.norms, raw)
        return raw

    def _cuts(
        self,
        raw: NDArray[np.float32],
        norms: NDArray[np.float32] | None,
        mask: NDArray[np.bool_] | None,
    ) -> NDArray[np.float32]:
        """Return the largest raw number (nq,) that a row worth keeping can have."""
        kernel, limit = self._kernel, self.candidates.limit
        slack = kernel.slack(_largest(norms), self._all_queries)
        fresh = np.isinf(limit)
        # Infinite times zero, and infinite minus infinite: nothing is known, every row is kept.
        with np.errstate(invalid="ignore", over="ignore"):
            if fresh.any():
                kth = _kth_bound(raw[fresh], self.candidates.k, mask)
                value = kernel.offset[fresh] + kernel.scale[fresh] * kth
                limit = limit.copy()
                limit[fresh] = value + slack[fresh] + 2.0 * kernel.relative * np.abs(value)
                # Nothing is known about ties yet: leave room for them.
                limit[fresh] += 2.0**-20 * np.abs(limit[fresh])
            value = limit + slack + 2.0 * kernel.relative * np.abs(limit)
            cuts = ((value - kernel.offset) / kernel.scale).astype(np.float32)
        cuts[np.isnan(cuts)] = np.inf
        up = np.float32(np.inf)
        result: NDArray[np.float32] = np.nextafter(np.nextafter(cuts, up), up)
        return result

    @staticmethod
    def _below(
        raw: NDArray[np.float32], cuts: NDArray[np.float32], mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # Not "<=": an unknown value (NaN) has to stay.
        above = raw > cuts[:, None]
        keep = np.logical_not(above, out=above)
        if mask is not None:
            keep &= mask
        # nonzero of one dimension is vectorised, that of two is not.
        query, row = np.divmod(np.flatnonzero(keep), raw.shape[1])
        return query, row

    def _bounds(
        self,
        raw: NDArray[np.float32],
        norms: NDArray[np.float32] | None,
        query: NDArray[np.int64],
        row: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        kernel = self._kernel
        each = np.zeros(len(row)) if norms is None else norms[row].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            value = kernel.offset[query] + kernel.scale[query] * raw[query, row].astype(np.float64)
            error = kernel.slack(each, query) + 2.0 * kernel.relative * np.abs(value)
            known = np.isfinite(value) & np.isfinite(error)
            low = np.where(known, value - error, -np.inf)
            high = np.where(known, value + error, np.inf)
        return low, high

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


def _largest(norms: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Return the largest finite norm, as an array that broadcasts."""
    if norms is None:
        return np.zeros(1)
    with np.errstate(invalid="ignore"):
        largest = float(norms.max(initial=0.0))
    if not np.isfinite(largest):
        largest = float(norms[np.isfinite(norms)].max(initial=0.0))
    return np.array([largest])


def _kth_bound(raw: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return for each query a number that at least k rows do not exceed; inf if fewer pass."""
    n = raw.shape[1] if mask is None else int(np.count_nonzero(mask))
    if n <= k:
        return np.full(len(raw), np.inf)
    if mask is not None:
        raw = raw[:, mask]
    groups = n // 16
    if groups >= 4 * k:
        # The k-th smallest of group minima belongs to k different rows.
        raw = raw[:, : groups * 16].reshape(len(raw), 16, groups).min(axis=1)
    kth = np.partition(raw, k - 1, axis=1)[:, k - 1].astype(np.float64)
    return np.where(np.isnan(kth), np.inf, kth)
