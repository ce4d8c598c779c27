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

__all__ = ["distances", "scores"]

_CHUNK_ELEMENTS = 1 << 17
"""Elements converted to float64 at once: 1 MB per temporary array stays in the L2 cache."""


def distances(query: NDArray[Any], vectors: NDArray[Any], spec: VectorSpec) -> NDArray[np.float64]:
    """Return the distance (n,) of `query` to each row of `vectors`; smaller is nearer.

    `vectors` is (n, width) in storage layout; `query` is (width,), or (n, width) for one query per
    row. cosine is 1 - cos, dot is -x.y, l2 is Euclidean (not squared), l1 the sum of absolute
    differences, hamming the number of differing bits. A zero vector has cosine distance 1.
    Cost: about 0.5 us per row of 256 dimensions; memory for temporaries is bounded.

    >>> from vicinal.vectors import VectorSpec
    >>> distances(np.float32([3, 4]), np.float32([[0, 0]]), VectorSpec(dim=2, metric="l2"))
    array([5.])
    """
    step = max(1, _CHUNK_ELEMENTS // max(1, spec.width))
    if len(vectors) <= step:
        return _direct(query, vectors, spec.metric)
    out = np.empty(len(vectors), np.float64)
    paired = query.ndim == 2
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        out[part] = _direct(query[part] if paired else query, vectors[part], spec.metric)
    return out


def scores(distances: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Return scores, higher is better: cos, x.y, or the negated distance.

    >>> scores(np.array([0.25]), "cosine")
    array([0.75])
    """
    values = np.asarray(distances, np.float64)
    # `0.0 -` instead of negation: a distance of zero scores 0.0, not -0.0.
    result: NDArray[np.float64] = 1.0 - values if metric == "cosine" else 0.0 - values
    return result


def _direct(query: NDArray[Any], rows: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    result: NDArray[np.float64]
    if metric == "hamming":
        result = np.bitwise_count(rows ^ query).sum(axis=-1, dtype=np.int64).astype(np.float64)
        return result
    x = rows.astype(np.float64)
    q = query.astype(np.float64)
    if metric == "dot":
        result = 0.0 - np.vecdot(x, q)
        return result
    if metric == "cosine":
        return _cosine(q, x)
    x -= q
    if metric == "l1":
        result = np.abs(x, out=x).sum(axis=1)
        return result
    result = np.sqrt(np.vecdot(x, x))
    return result


def _cosine(q: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    # 1 - cos = |x/|x| - q/|q||^2 / 2: no cancellation, and exactly 0 for equal vectors.
    # float64 holds the squares of every float32, denormals included.
    norms, query_norm = np.sqrt(np.vecdot(x, x)), np.sqrt(np.vecdot(q, q))
    zero = None
    if not (norms.all() and query_norm.all()):
        zero = (norms == 0) | (query_norm == 0)
        norms[norms == 0] = 1.0
        query_norm = np.where(query_norm == 0, 1.0, query_norm)
    x /= norms[:, None]
    x -= q / query_norm[..., None]
    half: NDArray[np.float64] = np.vecdot(x, x)
    half *= 0.5
    if zero is not None:
        half[zero] = 1.0
    return half
