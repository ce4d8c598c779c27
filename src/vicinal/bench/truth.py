"""The exact answer, by NumPy in float64, and how much of it an engine found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.bench.dataset import Metric

__all__ = ["TOLERANCE", "Truth", "distances_between", "exact", "recall"]

TOLERANCE = 1e-6
"""A row counts as found up to this much beyond the true k-th distance, relative to it."""

_ROUNDING = 1e-12  # of distances that are differences of numbers near 1
_ROWS = 8192
_QUERIES = 1024
_SPARE = 16  # candidates beyond k that are compared again directly


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The k nearest rows of each query: ids and ascending distances of shape (n, k)."""

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]


def distances_between(rows: NDArray[np.float32], query: NDArray[np.float32], metric: Metric) -> NDArray[np.float64]:
    """Return distances of rows (n, dim) to a query (dim,), computed directly in float64; smaller is nearer."""
    left, right = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        difference = left - right
        distances: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        return distances
    products: NDArray[np.float64] = left @ right
    if metric == "dot":
        return -products
    lengths: NDArray[np.float64] = np.linalg.norm(left, axis=1) * np.linalg.norm(right)
    return 1.0 - products / lengths


def exact(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    metric: Metric,
    progress: Callable[[float], None] | None = None,
) -> Truth:
    """Return the k nearest of `vectors` (n, dim) to each query; all of them where there are fewer."""
    k = min(k, len(vectors))
    ids = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k))
    for start in range(0, len(queries), _QUERIES):
        part = queries[start : start + _QUERIES]
        candidates = _candidates(vectors, part, min(len(vectors), k + _SPARE), metric, progress)
        for at, query in enumerate(part):
            found = distances_between(vectors[candidates[at]], query, metric)
            order = np.lexsort((candidates[at], found))[:k]
            ids[start + at], distances[start + at] = candidates[at][order], found[order]
    return Truth(ids, distances)


def _candidates(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    n: int,
    metric: Metric,
    progress: Callable[[float], None] | None,
) -> NDArray[np.int64]:
    """Return the n best rows of each query by matrix products, in no order."""
    asked = queries.astype(np.float64)
    best_scores = np.empty((len(queries), 0))
    best_ids = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS].astype(np.float64)
        scores = -asked @ block.T
        if metric == "cosine":
            scores /= np.linalg.norm(block, axis=1)
        elif metric == "l2":
            scores = 2 * scores + np.einsum("ij,ij->i", block, block)
        ids = np.broadcast_to(np.arange(start, start + len(block)), scores.shape)
        scores, ids = np.hstack([best_scores, scores]), np.hstack([best_ids, ids])
        if scores.shape[1] > n:
            chosen = np.argpartition(scores, n - 1, axis=1)[:, :n]
            scores, ids = np.take_along_axis(scores, chosen, 1), np.take_along_axis(ids, chosen, 1)
        best_scores, best_ids = scores, ids
        if progress is not None:
            progress(min(1.0, (start + _ROWS) / len(vectors)))
    return best_ids


def recall(
    truth: Truth,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    found: NDArray[np.int64],
    metric: Metric,
) -> float:
    """Return the share of the true nearest rows that `found`, ids of shape (n, k), has for the first n queries.

    A row counts if it is not farther than the true k-th, so that ties are no errors. What the engine says of
    distances is not asked; an id twice counts once, and an id that does not exist not at all.
    """
    n, k = found.shape[0], truth.ids.shape[1]
    hits = 0
    for at in range(n):
        ids = np.unique(found[at, :k])
        ids = ids[(ids >= 0) & (ids < len(vectors))]
        limit = truth.distances[at, -1]
        limit += TOLERANCE * abs(limit) + _ROUNDING
        hits += int((distances_between(vectors[ids], queries[at], metric) <= limit).sum())
    return hits / (n * k) if n else 0.0
