"""The last step of an approximate search: candidates compared by their exact distances."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidInput
from vicinal.index import native
from vicinal.index.kernels import decoded, gamma
from vicinal.vectors import distances, pair_distances, rounded_keys, smallest_of_groups

if TYPE_CHECKING:
    from vicinal.vectors import VectorSpec

__all__ = ["VectorsAt", "Whole", "rerank", "rerank_all_in", "rerank_in", "rough_values", "survivors"]

VectorsAt = Callable[[NDArray[np.int64]], NDArray[Any]]
"""Returns the stored vectors (n, width) at positions (n,)."""


_SAFE = (2.0**-80, 2.0**80)
"""Squared lengths between these lose nothing to the range of float32."""
_ROUNDING = 2.0**-21
"""Distances this close, relatively, may round to one float32 number."""
_LEAST = 2.0**-149
_DIRECT = 24
"""So few candidates are compared in float64 at once."""
_TOGETHER = 64
_PAIRS = 1 << 16
"""So many queries of a batch, with no more candidates in all, are compared together."""


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """All vectors (n, width) of a field in one array, and `row_norms` of them (n,)."""

    vectors: NDArray[Any]
    norms: NDArray[np.float32] | None


def rerank(
    query: NDArray[Any],
    positions: NDArray[np.int64],
    vectors_at: VectorsAt,
    spec: VectorSpec,
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k nearest of the candidates: positions int64 and exact distances float32.

    `query` is (width,), `positions` are distinct. As with `search_flat`: distances are those of
    `vicinal.vectors.distances` rounded to float32, sorted by (distance, position), ties with the
    k-th included. Cost beside `vectors_at` for 200 and 400 rows of 256 dimensions: 17 and 20 us by
    l2, 33 and 40 us by cosine, f16 half as much again: float32 numbers with proven bounds leave a
    few rows for float64.
    """
    if k <= 0 or not len(positions):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows = vectors_at(positions)
    if rows.shape != (len(positions), spec.width):
        raise InvalidInput(f"expected {len(positions)} vectors of width {spec.width}, got shape {rows.shape}")
    with np.errstate(all="ignore"):
        if len(rows) > _DIRECT:
            near = survivors(query, rows, spec, k)
            if near is not None:
                positions, rows = positions.take(near), rows.take(near, axis=0)
        return _ranked(query, positions, rows, spec, k)


def _ranked(
    query: NDArray[Any], positions: NDArray[np.int64], rows: NDArray[Any], spec: VectorSpec, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k nearest of rows by float64 distances; inside `np.errstate`."""
    exact = distances(query, rows, spec)
    rounded = exact.astype(np.float32)
    keys: NDArray[Any] = rounded
    order = np.lexsort((positions, keys))
    if not math.isfinite(rounded.sum()):  # beyond float32 they still have an order
        keys = rounded_keys(exact)
        order = np.lexsort((positions, keys))
    if len(order) > k:
        order = order[: keys[order].searchsorted(keys[order[k - 1]], "right")]
    return positions[order], rounded[order]


def rerank_in(
    query: NDArray[Any], positions: NDArray[np.int64], whole: Whole, spec: VectorSpec, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Do what `rerank` does for candidates that lie in one array, where only those that may be nearest are copied.

    Cost for 400 rows of 256 dimensions, none of them in the processor's cache: 90 us; 190 by `rerank`.
    """
    if _worth_values(len(positions), spec, k):
        with np.errstate(all="ignore"):
            near = _survivors_in(query[None], positions[None], whole, spec, k)[0]
            if near is not None and len(near) <= _DIRECT:
                positions = positions.take(near)
                return _ranked(query, positions, whole.vectors.take(positions, 0), spec, k)
        if near is not None:
            positions = positions.take(near)
    return rerank(query, positions, lambda at: whole.vectors.take(at, 0), spec, k)


def rerank_all_in(
    queries: NDArray[Any], positions: NDArray[np.int64], whole: Whole, spec: VectorSpec, k: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Do what `rerank_in` does for each of queries (nq, width) and its positions (nq, n), in fewer steps for all."""
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    if not _worth_values(positions.shape[1], spec, k):
        return [rerank_in(query, own, whole, spec, k) for query, own in zip(queries, positions, strict=True)]
    together = max(1, min(_TOGETHER, _PAIRS // positions.shape[1]))
    for start in range(0, len(queries), together):
        part, own = queries[start : start + together], positions[start : start + together]
        with np.errstate(all="ignore"):
            near = _survivors_in(part, own, whole, spec, k)
            if any(rows is None or len(rows) > _DIRECT for rows in near):  # many are alike, or cannot be told apart
                found += [rerank_in(*each, whole, spec, k) for each in zip(part, own, strict=True)]
            else:
                found += _ranked_all(part, own, [rows for rows in near if rows is not None], whole, spec, k)
    return found


def _ranked_all(
    queries: NDArray[Any],
    positions: NDArray[np.int64],
    near: list[NDArray[np.int64]],
    whole: Whole,
    spec: VectorSpec,
    k: int,
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return the k nearest to each query among those of its positions that `near` names; inside `np.errstate`."""
    which = np.repeat(np.arange(len(queries)), list(map(len, near)))
    chosen = positions[which, np.concatenate(near)]
    exact = pair_distances(queries, which, whole.vectors.take(chosen, 0), spec)
    order, bounds = smallest_of_groups(which, rounded_keys(exact), chosen, len(queries), k)
    chosen, rounded = chosen[order], exact[order].astype(np.float32)
    return [(chosen[start:stop], rounded[start:stop]) for start, stop in pairwise(bounds)]


def _worth_values(n: int, spec: VectorSpec, k: int) -> bool:
    """Return whether float32 numbers save most of n candidates from being compared in float64."""
    return n > max(k, _DIRECT) and spec.dtype == "f32" and spec.metric in ("cosine", "dot", "l2")


def _survivors_in(
    queries: NDArray[Any], positions: NDArray[np.int64], whole: Whole, spec: VectorSpec, k: int
) -> list[NDArray[np.int64] | None]:
    """Return for each of queries (nq, width) which of its positions (nq, n) `survivors` keeps."""
    values = np.empty(positions.shape, np.float32)
    positions = np.ascontiguousarray(positions)
    if spec.metric == "l2":
        native.values_at(np.ascontiguousarray(queries, np.float32), whole.vectors, positions, values, l2=True)
        return [_near(each, *_square_errors(each, spec.dim), spec, k) for each in values]
    if whole.norms is None:
        return [None] * len(queries)
    units = np.concatenate([_negated_unit(query)[None] for query in queries])
    native.values_at(units, whole.vectors, positions, values, l2=False)
    norms, bound = whole.norms.take(positions), 2.0 * gamma(spec.dim + 8)
    if spec.metric == "dot":
        least, most = float(norms.min()), float(norms.max())
        safe = _SAFE[0] <= least * least and most * most <= _SAFE[1]
        return [_near(each, 0.0, bound * most, spec, k) if safe else None for each in values]
    values *= norms  # not a number for rows that float32 cannot hold the product of: those are kept
    return [_near(each, 0.0, bound, spec, k) for each in values]


def rough_values(query: NDArray[Any], rows: NDArray[Any], spec: VectorSpec) -> NDArray[np.float32]:
    """Return in float32 what codes estimate (n,): -cos, -x.q / |q|, or the squared distance."""
    floats = np.ascontiguousarray(decoded(rows))
    with np.errstate(all="ignore"):
        return (_squares(query, floats) if spec.metric == "l2" else _products(query, floats, spec))[0]


def survivors(query: NDArray[Any], rows: NDArray[Any], spec: VectorSpec, k: int) -> NDArray[np.int64] | None:
    """Return which rows (n, width) may be among the k nearest by float32 numbers, ties included, ascending.

    None where such numbers do not tell. Proven bounds: none of the k nearest is left out.
    """
    if spec.metric in ("l1", "hamming"):
        return None
    if len(rows) <= k:
        return np.arange(len(rows))
    floats = np.ascontiguousarray(decoded(rows))
    with np.errstate(all="ignore"):
        values, relative, absolute = _squares(query, floats) if spec.metric == "l2" else _products(query, floats, spec)
    return _near(values, relative, absolute, spec, k)


def _near(
    values: NDArray[np.float32], relative: float, absolute: float, spec: VectorSpec, k: int
) -> NDArray[np.int64] | None:
    """Return which values, known to these errors, may be among the k smallest; None where they do not tell."""
    kth = float(np.partition(values, k - 1)[k - 1])
    # Distances that round to one float32 number are tied; cosine distances are 1 + value, so that
    # rounding compares ever more finely as they near zero.
    tie = _ROUNDING * abs(kth + 1.0 if spec.metric == "cosine" else kth)
    limit = kth + tie + 2.0 * (relative * abs(kth) + absolute)
    if not math.isfinite(limit):  # out of range for float32: compare all of them directly
        return None
    limit += _ROUNDING * abs(limit) + _LEAST  # no less when it is rounded to float32
    near: NDArray[np.int64] = (~(values > limit)).nonzero()[0]
    return near


def _squares(query: NDArray[Any], rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, float]:
    """Return squared distances of float32 differences, and bounds of their relative and absolute errors."""
    values = np.empty(len(rows), np.float32)
    native.l2_squared(np.ascontiguousarray(query, np.float32), rows, values)
    return values, *_square_errors(values, rows.shape[1])


def _square_errors(values: NDArray[np.float32], dim: int) -> tuple[float, float]:
    if not math.isfinite(values.max()):
        return np.inf, np.inf
    # Differences keep their digits whatever offset the vectors share; squares may underflow.
    return 2.0 * gamma(2 * dim + 8) + _ROUNDING, 2.0 * dim * 2.0**-126


def _products(
    query: NDArray[Any], rows: NDArray[np.float32], spec: VectorSpec
) -> tuple[NDArray[np.float32], float, float]:
    """Return -cos or -x.q / |q|, and bounds of their relative and absolute errors (Higham: gamma_d |x|)."""
    values = np.vecdot(rows, _negated_unit(query))
    squares = np.vecdot(rows, rows)
    least, most = float(squares.min()), float(squares.max())
    if not (least >= _SAFE[0] and most <= _SAFE[1]):
        return values, np.inf, np.inf
    bound = 2.0 * gamma(spec.dim + 8)
    if spec.metric == "dot":
        return values, 0.0, bound * math.sqrt(most)
    np.sqrt(squares, out=squares)
    values /= squares
    return values, 0.0, bound


def _negated_unit(query: NDArray[Any]) -> NDArray[np.float32]:
    exact = query.astype(np.float64)
    exact *= -1.0 / (math.sqrt(float(exact.dot(exact))) or 1.0)
    return exact.astype(np.float32)
