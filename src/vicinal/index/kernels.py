"""Fast float32 kernels with proven error bounds: what exact search narrows candidates with.

Every kernel estimates a *value* that orders rows as the distance does (smaller is nearer):
-cos for cosine, -x.q for dot, the squared distance for l2, the distance itself for l1 and hamming.
It writes raw float32 numbers, `value ~ offset + scale * raw`, and bounds the error by
`slack + relative * |value|`. A raw NaN means "unknown": such a row is always compared directly.

The bounds are the classical ones: a sum of d products in floating point, in any order, with or
without fused multiply-add, errs by at most gamma_d * sum |x_i q_i| <= gamma_d |x| |q|, where
gamma_d = d u / (1 - d u) and u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., section 3.1); a sum of rounded differences errs relatively, by gamma_(d+2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vicinal.index import native

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.vectors import Metric, VectorSpec

__all__ = ["DirectL1", "DirectL2", "Kernel", "Products", "bounds_of", "decoded", "gamma", "value_of"]

_OVERFLOW = 2.0**126
_UNDERFLOW = 2.0**-126
_UNIT = 2.0**-20
"""Rows whose norm is 1 within this need no division by it; the bound pays for that."""
_HALF_MASK = np.array(0x8FFFE000, np.uint32).view(np.int32)[()]


class Kernel(Protocol):
    """Estimates values of all rows for a batch of queries; one object serves one thread."""

    offset: NDArray[np.float64]
    """(nq,): added to `scale * raw`."""
    scale: NDArray[np.float64]
    """(nq,): positive."""
    relative: float

    def run(self, rows: NDArray[Any], norms: NDArray[np.float32] | None, out: NDArray[np.float32]) -> None:
        """Write raw numbers (nq, n) for `rows` (n, width) into `out`."""

    def slack(self, norms: NDArray[np.float64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the absolute error bounds of pairs: row norm i with query number i (broadcast)."""


def gamma(terms: int) -> float:
    """Return Higham's gamma_n for float32."""
    return terms * 2.0**-24 / (1.0 - terms * 2.0**-24)


def value_of(distances: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return the values that belong to exact distances."""
    if metric == "cosine":
        return distances - 1.0
    return distances * distances if metric == "l2" else distances


def decoded(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return `rows` as float32, itself if it is that already.

    NumPy converts half floats one by one; moving the bits takes a sixth of the time: sign and
    mantissa go where float32 has them, and a power of two corrects the exponent's bias.
    """
    if rows.dtype != np.float16:
        return rows.astype(np.float32, copy=False)
    bits = np.ascontiguousarray(rows).view(np.int16).astype(np.int32)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _HALF_MASK, out=bits)
    result = bits.view(np.float32)
    result *= np.float32(2.0**112)
    return result


def _all_units(inverse_norms: NDArray[np.float32]) -> bool:
    low, high = inverse_norms.min(initial=1.0), inverse_norms.max(initial=1.0)
    return bool(low >= 1.0 - _UNIT and high <= 1.0 + _UNIT)  # not so with a NaN among them


def bounds_of(
    kernel: Kernel, numbers: NDArray[np.float32], norms: NDArray[np.float64], queries: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bounds (n,) of the values that raw numbers of rows with these norms and query numbers stand for."""
    with np.errstate(invalid="ignore", over="ignore"):
        value = kernel.offset[queries] + kernel.scale[queries] * numbers.astype(np.float64)
        error = kernel.slack(norms, queries) + 2.0 * kernel.relative * np.abs(value)
        known = np.isfinite(value) & np.isfinite(error)
        low = np.where(known, value - error, -np.inf)
        high = np.where(known, value + error, np.inf)
    return low, high


class Products:
    """cosine, dot and l2 by matrix products; f16 and i8 rows are decoded first.

    Cost: one pass over the rows at memory speed for one query, arithmetic speed for batches.
    """

    __slots__ = ("_metric", "_norms", "_queries", "_rounding", "offset", "relative", "scale")

    def __init__(self, queries: NDArray[np.float32], spec: VectorSpec) -> None:
        exact = queries.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        self._metric = spec.metric
        self.offset = np.zeros(len(queries))
        self.scale = np.ones(len(queries))
        self.relative = 0.0
        if spec.metric == "cosine":
            exact /= np.where(norms == 0, 1.0, norms)[:, None]
        elif spec.metric == "dot":
            # Scaled by a power of two, so that only the rows decide about overflow.
            exponents = np.frexp(norms)[1]
            exact = np.ldexp(exact, -exponents[:, None])
            self.scale = np.ldexp(1.0, exponents)
            norms = norms / self.scale
        else:
            self.offset = norms * norms
            self.scale = np.full(len(queries), 2.0)
        self._queries = np.negative(exact).astype(np.float32)
        self._norms = norms
        # Beside the d products: rounding of the query, of the norm, of the final operation.
        self._rounding = gamma(spec.dim + 8) + (_UNIT if spec.metric == "cosine" else 0.0)

    def run(self, rows: NDArray[Any], norms: NDArray[np.float32] | None, out: NDArray[np.float32]) -> None:
        """Write raw numbers (nq, n); rows that might overflow get NaN."""
        if norms is None:
            raise ValueError("this metric needs row_norms")
        rows = decoded(rows)
        with np.errstate(over="ignore", invalid="ignore"):
            if len(self._queries) == 1:
                np.vecdot(rows, self._queries[0], out=out[0])  # one thread, as fast as its matrix-vector product
            else:
                np.dot(self._queries, rows.T, out=out)
            if self._metric == "cosine":
                if not _all_units(norms):
                    out *= norms
            elif self._metric == "l2":
                out += norms
            self._forget_overflow(norms, out)

    def _forget_overflow(self, norms: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        if self._metric == "cosine":  # its norms are NaN there already
            return
        lengths = np.sqrt(2.0 * norms.max(initial=0.0)) if self._metric == "l2" else norms.max(initial=0.0)
        largest = float(self._norms.max(initial=1.0))
        if float(lengths) * largest < _OVERFLOW and np.isfinite(lengths):
            return
        each = np.sqrt(2.0 * norms.astype(np.float64)) if self._metric == "l2" else norms
        out[:, ~(each * largest < _OVERFLOW)] = np.nan

    def suits(self, norms: NDArray[np.float32]) -> bool:
        """Return whether products alone order rows of these norms, none of which overflows."""
        if self._metric == "cosine":
            return _all_units(norms)
        return self._metric == "dot" and float(norms.max(initial=0.0)) * float(self._norms.max(initial=1.0)) < _OVERFLOW

    def largest(self, rows: NDArray[Any], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the k smallest raw numbers of each query and the rows they belong to, -1 for none: (nq, k) each.

        For rows that this `suits`; by the calling thread alone.
        """
        products, positions = native.largest_products(
            self._queries * np.float32(-1.0), np.ascontiguousarray(decoded(rows)), k
        )
        return np.negative(products, out=products), positions

    def slack(self, norms: NDArray[np.float64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return absolute bounds; infinite norms, whose raw numbers are NaN, get infinity."""
        if self._metric == "cosine":
            return np.full(np.broadcast(norms, queries).shape, self._rounding)
        bound: NDArray[np.float64]
        underflow = self._queries.shape[1] * _UNDERFLOW
        length = self._norms[queries]
        if self._metric == "dot":
            bound = self.scale[queries] * (self._rounding * norms * length + underflow)
            return bound
        product = np.sqrt(2.0 * norms) * length
        bound = 2.0 * (self._rounding * product + 2.0**-22 * (norms + product) + underflow)
        return bound


class DirectL2:
    """l2 over f32 by float32 differences: a relative bound, whatever offset the vectors share."""

    __slots__ = ("_queries", "offset", "relative", "scale")

    def __init__(self, queries: NDArray[np.float32], spec: VectorSpec) -> None:
        self._queries = np.ascontiguousarray(queries, np.float32)
        self.offset = np.zeros(len(queries))
        self.scale = np.ones(len(queries))
        self.relative = gamma(2 * spec.dim + 8)

    def run(self, rows: NDArray[Any], norms: NDArray[np.float32] | None, out: NDArray[np.float32]) -> None:  # noqa: ARG002
        """Write squared distances (nq, n); overflow gives infinity."""
        rows = np.ascontiguousarray(decoded(rows))
        for query, target in zip(self._queries, out, strict=True):
            native.l2_squared(query, rows, target)

    def slack(self, norms: NDArray[np.float64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what squares may lose by underflow."""
        return np.full(np.broadcast(norms, queries).shape, self._queries.shape[1] * _UNDERFLOW)


class DirectL1:
    """l1 by float32 differences; f16 and i8 rows are decoded first."""

    __slots__ = ("_queries", "offset", "relative", "scale")

    def __init__(self, queries: NDArray[np.float32], spec: VectorSpec) -> None:
        self._queries = np.ascontiguousarray(queries, np.float32)
        self.offset = np.zeros(len(queries))
        self.scale = np.ones(len(queries))
        self.relative = gamma(spec.dim + 4)

    def run(self, rows: NDArray[Any], norms: NDArray[np.float32] | None, out: NDArray[np.float32]) -> None:  # noqa: ARG002
        """Write distances (nq, n); overflow gives infinity."""
        native.l1_distances(self._queries, np.ascontiguousarray(decoded(rows)), out)

    def slack(self, norms: NDArray[np.float64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what denormal differences may lose."""
        return np.full(np.broadcast(norms, queries).shape, self._queries.shape[1] * _UNDERFLOW)
