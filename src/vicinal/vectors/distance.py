"""Distances and scores by definition: the reference every index is measured against.

Everything is computed directly in float64: differences before squares, unit vectors before
products. So a large common offset costs no digits, unlike the expanded forms that fast kernels
use (`|x|^2 - 2 x.q + |q|^2`, `1 - x.q / |x||q|`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.vectors.spec import Metric, VectorSpec

__all__ = ["distances", "pair_distances", "scores"]

_CHUNK_ELEMENTS = 1 << 17
"""Elements converted to float64 at once: 1 MB per temporary array stays in the L2 cache."""


def distances(query: NDArray[Any], vectors: NDArray[Any], spec: VectorSpec) -> NDArray[np.float64]:
    """Return the distance (n,) of `query` to each row of `vectors`; smaller is nearer.

    `query` is (width,), `vectors` (n, width) in storage layout. cosine is 1 - cos, dot is -x.y, l2 is
    Euclidean (not squared), l1 the sum of absolute differences, hamming the number of differing bits. A
    zero vector has cosine distance 1. Cost: about 0.5 us per row of 256 dimensions; memory for
    temporaries is bounded.

    >>> from vicinal.vectors import VectorSpec
    >>> distances(np.float32([3, 4]), np.float32([[0, 0]]), VectorSpec(dim=2, metric="l2"))
    array([5.])
    """
    prepared = _prepared(query, spec.metric)
    step = _rows_at_once(spec)
    if len(vectors) <= step:
        return _direct(prepared, vectors, spec.metric)
    out = np.empty(len(vectors), np.float64)
    for start in range(0, len(vectors), step):
        out[start : start + step] = _direct(prepared, vectors[start : start + step], spec.metric)
    return out


def pair_distances(
    queries: NDArray[Any], which: NDArray[np.int64], vectors: NDArray[Any], spec: VectorSpec
) -> NDArray[np.float64]:
    """Return the distance (n,) of `queries[which[i]]` to `vectors[i]` for each i, as `distances` does."""
    prepared = _prepared(queries, spec.metric)
    step = _rows_at_once(spec)
    out = np.empty(len(vectors), np.float64)
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        out[part] = _direct(prepared.take(which[part], 0), vectors[part], spec.metric)
    return out


def _rows_at_once(spec: VectorSpec) -> int:
    return max(1, _CHUNK_ELEMENTS // max(1, spec.width))


def scores(distances: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Return scores, higher is better: cos, x.y, or the negated distance.

    >>> scores(np.array([0.25]), "cosine")
    array([0.75])
    """
    values = np.asarray(distances, np.float64)
    # `0.0 -` instead of negation: a distance of zero scores 0.0, not -0.0.
    result: NDArray[np.float64] = 1.0 - values if metric == "cosine" else 0.0 - values
    return result


def _prepared(queries: NDArray[Any], metric: Metric) -> NDArray[Any]:
    """Return what rows are compared with: float64, of length one for cosine; bits as they are."""
    if metric == "hamming":
        return queries
    q: NDArray[np.float64] = queries.astype(np.float64)
    if metric == "cosine":
        # float64 holds the squares of every float32, denormals included. A zero vector becomes NaN.
        with np.errstate(invalid="ignore"):
            q /= np.sqrt(np.vecdot(q, q))[..., None]
    return q


def _direct(prepared: NDArray[Any], rows: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Return distances (n,) of rows to one prepared query (width,), or one for each (n, width)."""
    result: NDArray[np.float64]
    if metric == "hamming":
        result = np.bitwise_count(rows ^ prepared).sum(axis=-1, dtype=np.int64).astype(np.float64)
        return result
    x = rows.astype(np.float64)
    if metric == "dot":
        result = 0.0 - np.vecdot(x, prepared)
        return result
    if metric == "cosine":
        return _cosine(prepared, x)
    x -= prepared
    if metric == "l1":
        result = np.abs(x, out=x).sum(axis=1)
        return result
    result = np.sqrt(np.vecdot(x, x))
    return result


def _cosine(units: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    # 1 - cos = |x/|x| - q/|q||^2 / 2: no cancellation, and exactly 0 for equal vectors.
    norms = np.sqrt(np.vecdot(x, x))
    zero = None
    if not norms.all():
        zero = norms == 0
        norms[zero] = 1.0
    x /= norms[:, None]
    x -= units
    half: NDArray[np.float64] = np.vecdot(x, x)
    half *= 0.5
    if zero is not None:
        half[zero] = 1.0
    unknown = np.isnan(half)
    if unknown.any():
        half[unknown] = 1.0
    return half
