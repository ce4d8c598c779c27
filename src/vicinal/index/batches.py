"""Exact search by a batch of queries where products alone order the rows.

Each thread has its share of rows multiplied with all queries, and the best of them chosen, in native code: a few
more than were asked for. What was not chosen is worse, in float32, than the last that was. Where that one cannot
be among the nearest, whatever the rounding, neither can they; the nearest are then among those chosen, which are
compared directly. The queries for which this proves nothing (many rows as near as the last) are named.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vicinal.index.candidates import with_ties
from vicinal.index.kernels import Products, bounds_of
from vicinal.index.workers import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from vicinal.index.block import Block
    from vicinal.index.candidates import Candidates, Hits
    from vicinal.vectors import VectorSpec

__all__ = ["kernel_for", "search"]

_MORE = 8
_NONE = -1
_MOST_K = 100
_FEWEST_QUERIES = 32
_LEAST_WORK = 1 << 30
"""Queries times bytes of rows; the native library takes a fifth of a second to load."""
_PIECES = 2
"""Shares of rows per thread: one that is held up has less to do."""
_PIECE_ROWS = 65_536
_COPIED_ELEMENTS = 1 << 22
"""Numbers copied at once where rows have to be decoded, or picked out by a mask: 16 MB per thread."""


class _Chosen(NamedTuple):
    """Of one share of rows: raw numbers (nq, m) of those chosen, their positions, and a number none else is below."""

    numbers: NDArray[np.float32]
    positions: NDArray[np.int64]
    least: NDArray[np.float32]


def kernel_for(blocks: list[Block], queries: NDArray[Any], spec: VectorSpec, k: int, workers: int) -> Products | None:
    """Return what `search` needs; None where it cannot be used, or BLAS's threads are as fast."""
    work = len(queries) * sum(block.vectors.nbytes for block in blocks)
    if workers < 2 or len(queries) < _FEWEST_QUERIES or k > _MOST_K or work < _LEAST_WORK:
        return None
    if spec.metric not in ("cosine", "dot"):
        return None
    kernel = Products(queries.astype(np.float32), spec)
    return kernel if all(block.norms is not None and kernel.suits(block.norms) for block in blocks) else None


def search(
    kernel: Products, blocks: list[Block], candidates: Candidates, workers: int
) -> tuple[Hits, NDArray[np.int64]]:
    """Return the nearest rows of each query as `search_flat` does, and the numbers of queries not proven right.

    candidates: none yet, with a `fetch`.
    """
    k, spec, n_queries = candidates.k, candidates.spec, len(candidates.queries)
    total = sum(len(block.vectors) for block in blocks)
    rows, copied = min(_PIECE_ROWS, -(-total // (_PIECES * workers))), max(1024, _COPIED_ELEMENTS // spec.dim)
    pieces = [piece for block in blocks for piece in _pieces(block, rows, copied)]
    chosen = in_threads(partial(_chosen, kernel, k + _MORE), pieces, workers)
    widest = max(float(block.norms.max(initial=0.0)) for block in blocks if block.norms is not None)
    norms, each = np.full(n_queries, widest), np.arange(n_queries)
    numbers = np.concatenate([part.numbers for part in chosen], axis=1)
    positions = np.concatenate([part.positions for part in chosen], axis=1)
    low, high = bounds_of(kernel, numbers.T, norms, each)  # (m, nq)
    if len(high) > k:  # only few of those that the shares have chosen are among the nearest of all
        limit = with_ties(np.partition(high, k - 1, axis=0)[k - 1], spec.metric)
        positions[(low > limit).T] = _NONE
    query, column = np.nonzero(positions != _NONE)
    found, bounds = positions[query, column], (low[column, query], high[column, query])
    candidates.add_bounded(query, found, bounds, np.empty((0, spec.width), spec.storage_dtype), found)
    hits = candidates.finish()
    least = np.min([part.least for part in chosen], axis=0)
    low, _ = bounds_of(kernel, least, norms, each)
    return hits, np.flatnonzero((low <= candidates.limit) & (least < np.inf))


def _pieces(block: Block, rows: int, copied: int) -> Iterator[Block]:
    as_it_is = block.vectors.dtype == np.float32 and (block.mask is None or block.mask.all())
    step = rows if as_it_is else min(rows, copied)
    for start in range(0, len(block.vectors), step):
        yield block.rows(start, min(len(block.vectors), start + step))


def _chosen(kernel: Products, most: int, piece: Block) -> _Chosen:
    rows = None if piece.mask is None or piece.mask.all() else np.flatnonzero(piece.mask)
    numbers, found = kernel.largest(piece.vectors if rows is None else piece.vectors[rows], most)
    n = len(piece.vectors) if rows is None else len(rows)
    least = numbers[:, -1] if n > most else np.full(len(numbers), np.inf, np.float32)
    if rows is not None and n:
        found = np.where(found < 0, found, rows[found])
    return _Chosen(numbers, np.where(found < 0, _NONE, found + piece.first), least)
