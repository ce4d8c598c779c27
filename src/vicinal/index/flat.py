"""Exact search by scanning blocks: the twin every approximate index is measured against.

Each stretch of rows goes through a float32 kernel with a proven error bound (`kernels`, `codes`).
Rows whose bounds allow them among the k nearest are kept (`candidates`) and compared at the end
by the direct float64 distance. The k-th best upper bound so far is a running threshold, so that
all but the first stretch cost one comparison per row. Where the bound is too loose to tell rows
apart (a large offset common to all vectors), the rows that remain are compared directly.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import InvalidInput
from vicinal.index import batches
from vicinal.index.block import Block, Fetch, fetch_from
from vicinal.index.candidates import Candidates
from vicinal.index.choice import Passing, Scan, passing_rows, uses_products
from vicinal.index.narrowing import narrow
from vicinal.index.scratch import scratch
from vicinal.index.workers import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from vicinal.index.candidates import Hits
    from vicinal.index.kernels import Kernel, Products
    from vicinal.vectors import VectorSpec

__all__ = ["search_flat"]

_SCRATCH_ELEMENTS = 1 << 20
"""Raw numbers held at once per thread: 4 MB; for batches, whose matrix products gain from it, 8 MB."""
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
    workers, total, fetch = 1, 0, None
    if not streamed:
        blocks = list(blocks)
        fetch = fetch_from(blocks) if blocks else None
        total = sum(block.vectors.nbytes for block in blocks)
        workers = min(threads, max(1, total // _THREAD_BYTES))
        batch_kernel = batches.kernel_for(list(blocks), queries, spec, k, workers)
        if batch_kernel is not None:
            return _batch(batch_kernel, list(blocks), Candidates(queries, spec, k, fetch), workers)
    rows = max(1024, _scratch(queries) // len(queries))
    scan = Scan(queries, spec, k, fetch)
    if not streamed and len(queries) == 1 and spec.metric == "l1":
        blocks = narrow(list(blocks), scan, workers)
        workers = min(workers, max(1, sum(block.vectors.nbytes for block in blocks) // _THREAD_BYTES))
    if fetch is not None and len(queries) == 1 and workers > 1:
        return _one_query(list(blocks), scan, workers, fetch)
    if workers == 1 or (_blas_threads() > 1 and uses_products(queries, spec)):
        for span in _spans(blocks, rows):
            scan.span(span)
        return scan.candidates.finish()
    rows = min(rows, max(_THREAD_ROWS, -(-total // (spec.row_bytes * workers * 2))))
    return _in_threads(_spans(blocks, rows), [scan, *(Scan(queries, spec, k, fetch) for _ in range(workers - 1))])


def _batch(kernel: Products, blocks: list[Block], candidates: Candidates, workers: int) -> Hits:
    hits, unproven = batches.search(kernel, blocks, candidates, workers)
    if len(unproven):
        queries = candidates.queries[unproven]
        scan = Scan(queries, candidates.spec, candidates.k, fetch_from(blocks))
        for span in _spans(blocks, max(1024, _scratch(queries) // len(queries))):
            scan.span(span)
        for number, found in zip(unproven.tolist(), scan.candidates.finish(), strict=True):
            hits[number] = found
    return hits


def _scratch(queries: NDArray[Any]) -> int:
    return _SCRATCH_ELEMENTS * (1 if len(queries) == 1 else 2)


def _one_query(blocks: list[Block], scan: Scan, workers: int, fetch: Fetch) -> Hits:
    """Share the kernel's pass over the rows between threads; the calling one chooses the candidates."""
    kernels = [scan.kernel, *(scan.another_kernel() for _ in range(workers - 1))]
    at_once = max(1, _SCRATCH_ELEMENTS // max(1, *(len(block.vectors) for block in blocks)))
    for start in range(0, len(blocks), at_once):
        part = blocks[start : start + at_once]
        n_rows = sum(len(block.vectors) for block in part)
        piece = max(_THREAD_ROWS, -(-n_rows // (2 * workers)))
        numbers = scratch("numbers", (1, n_rows), np.float32)
        ends = np.cumsum([0, *(len(block.vectors) for block in part)]).tolist()
        runs = [
            _Run(block, kernels, numbers[:, low:high]) for block, (low, high) in zip(part, pairwise(ends), strict=True)
        ]
        share([call for run in runs for call in run.calls(piece)], workers)
        found = None if any(block.mask is not None for block in part) else scan.nearest_of(part, numbers, fetch)
        if found is not None:
            if len(part) == len(blocks) and scan.candidates.empty:
                return [scan.candidates.best(*found)]
            scan.candidates.add_exact(np.zeros(len(found[0]), np.int64), *found)
            continue
        for run in runs:
            if scan.kernel is not kernels[0]:  # changed for a better bound: these numbers are another kernel's
                scan.span(run.block)
            elif run.passing is not None:
                scan.choose(run.passing, run.raw)
        if scan.kernel is not kernels[0]:
            kernels = [scan.kernel, *(scan.another_kernel() for _ in range(workers - 1))]
    return scan.candidates.finish()


class _Run:
    """The raw numbers (1, n) of one block's passing rows, computed piece by piece."""

    def __init__(self, block: Block, kernels: list[Kernel], out: NDArray[np.float32]) -> None:
        self.block = block
        self._kernels = kernels
        self.passing: Passing | None = None
        self.raw = out

    def calls(self, piece: int) -> list[Callable[[int], None]]:
        """Return the pieces of work; rows that a mask has to pick out are picked in one."""
        block = self.block
        if block.mask is not None:
            return [self._whole]
        self.passing = Passing(block, None, None)
        return [partial(self._piece, slice(at, at + piece)) for at in range(0, len(block.vectors), piece)]

    def _whole(self, worker: int) -> None:
        self.passing = passing_rows(self.block)
        if self.passing is not None:
            block = self.passing.block
            self.raw = self.raw[:, : len(block.vectors)]
            self._kernels[worker].run(block.vectors, block.norms, self.raw)

    def _piece(self, part: slice, worker: int) -> None:
        block = self.block
        norms = None if block.norms is None else block.norms[part]
        self._kernels[worker].run(block.vectors[part], norms, self.raw[:, part])


def _in_threads(spans: Iterator[Block], scans: list[Scan]) -> Hits:
    for scan in scans[1:]:  # one threshold for all; a lost update only costs a few candidates
        scan.candidates.limit = scans[0].candidates.limit
    share((partial(_scan_span, scans, span) for span in spans), len(scans))
    for scan in scans[1:]:
        scans[0].candidates.merge(scan.candidates)
    return scans[0].candidates.finish()


def _scan_span(scans: list[Scan], span: Block, worker: int) -> None:
    scans[worker].span(span)


def _spans(blocks: Iterable[Block], rows: int) -> Iterator[Block]:
    """Yield views of at most `rows` rows."""
    for block in blocks:
        for start in range(0, len(block.vectors), rows):
            yield block.rows(start, start + rows)


def _blas_threads() -> int:
    """Return how many threads NumPy's BLAS uses, as far as the environment tells."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return os.cpu_count() or 1
