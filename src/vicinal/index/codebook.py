"""Codebooks: how vectors of a field become 4-bit codes that a scan compares at memory speed.

Product quantisation: dimensions are dealt to m groups, each group's values are replaced by the
nearest of 16 centroids, and the distance of a query to a row is a sum of m table look-ups (Jégou,
Douze, Schmid, "Product quantization for nearest neighbor search", PAMI 2011). Sixteen entries of
a byte fit one SIMD register, so 32 rows are looked up at once (André, Kermarrec, Le Scouarnec,
"Cache locality is not enough", VLDB 2015, and "Quicker ADC", PAMI 2019).

Dimensions are dealt so that every group gets an equal share of the variance, where that makes
distances of held-out rows more exact; else neighbours stay together, as images want it. Measured,
recall@10 of 50 candidates at one bit per dimension: sentences .850 as they come, .861 dealt;
variances falling as exp(-i/30) .31 and .999 (.80 under a random rotation, which also costs each
query a matrix product); images 1.000 and .970.

A codebook belongs to its field: segments share it, so sealing and merging never encode again.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from vicinal.errors import Corrupted, InvalidInput, shorten
from vicinal.index import native
from vicinal.index.kernels import decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vicinal.vectors import VectorSpec

__all__ = ["MIN_TRAINING_ROWS", "TRAINING_ROWS", "Bits", "Codebook", "scannable"]

Bits = Literal[1, 2]
"""Bits of code per dimension: 1 is coarse (groups of four dimensions), 2 is fine (groups of two)."""

TRAINING_ROWS = 16_384
"""Sample worth training on; 50,000 rows and 25 iterations gain no recall on the sentences."""
MIN_TRAINING_ROWS = 256
_ITERATIONS = 12
_TRIAL_ROWS = 4096
_TRIAL_ITERATIONS = 6
_TRIAL_PAIRS = (1024, 256)
_DEALT_BETTER = 0.99

_MIN_DIM = 16
_WIDTHS: dict[Bits, int] = {1: 4, 2: 2}
"""Dimensions per group by bits per dimension: a group has four bits."""
_COARSE_FROM = 30_000_000
"""So many numbers in all rows."""
_MAX_GROUPS = 512
_MAX_PRODUCT_GROUPS = 256
"""Up to here look-up tables of bytes cannot overflow the 16-bit sum of the nearest row."""
_ORDINARY = (2.0**-90, 2.0**100)
"""Squared lengths between these are right in float32."""
_LARGEST = 2.0**40
"""Scaled values are cut off here: squares and sums of them stay finite in float32."""
_STEP_ELEMENTS = 1 << 21


def scannable(spec: VectorSpec) -> bool:
    """Return whether vectors of this kind can be coded: numbers by cosine, l2 or dot, 16 dimensions up.

    Bits are scanned as they are, l1 has no table of this kind, and fewer dimensions have so few
    groups that codes tell little; an exact scan is fast there.

    >>> from vicinal.vectors import VectorSpec
    >>> scannable(VectorSpec(dim=256)), scannable(VectorSpec(dim=256, dtype="bit"))
    (True, False)
    """
    return spec.dtype != "bit" and spec.metric in ("cosine", "l2", "dot") and spec.dim >= _MIN_DIM


def usual_bits(n_rows: int, dim: int) -> Bits:
    """Return the bits per dimension that answer fastest: of much to read the fewer, at the price of more candidates.

    Measured with 256 and 784 dimensions: even at 100,000 and at 30,000 rows.
    """
    return 1 if n_rows * dim >= _COARSE_FROM else 2


class Codebook:
    """Turns vectors into codes (n, m / 2) uint8, two groups per byte, and queries into their terms.

    Immutable; one object serves all threads and all segments of a field.
    """

    __slots__ = ("_codes", "_natural", "centroids", "l2", "m", "order", "scale", "spec")

    def __init__(
        self, spec: VectorSpec, order: NDArray[np.int32], centroids: NDArray[np.float32], scale: float
    ) -> None:
        self.spec = spec
        self.order = order
        """(padded dim,): the dimension that stands at each place; those beyond `dim` are zeros."""
        self.centroids = centroids
        """(m, 16, padded dim / m)."""
        self.scale = scale
        """A power of two that vectors are multiplied by; 1 for cosine, which normalises."""
        self.m = len(centroids)
        self.l2 = _compares_by_l2(spec, self.m)
        """Whether codes are compared by squared distance or by inner product."""
        self._codes = native.ProductCodes(centroids)
        self._natural = len(order) == spec.dim and bool((order == np.arange(spec.dim)).all())

    @classmethod
    def train(
        cls, sample: NDArray[Any], spec: VectorSpec, bits: Bits = 1, *, seed: int = 0, threads: int = 1
    ) -> Codebook:
        """Return a codebook for vectors like `sample` (n, dim), in storage type.

        Up to `TRAINING_ROWS` of the rows are used, chosen by `seed`; the same arguments give the
        same codebook. Cost at 256 dimensions: 0.5 s for 1 bit, 0.9 s for 2, one thread.
        """
        _refuse_unscannable(spec)
        if bits not in get_args(Bits):
            raise InvalidInput(f"bits must be 1 or 2, got {shorten(bits)}")
        _check_rows(sample, spec)
        if len(sample) < MIN_TRAINING_ROWS:
            raise InvalidInput(f"training needs at least {MIN_TRAINING_ROWS} vectors, got {len(sample)}")
        chosen = np.random.default_rng(seed).permutation(len(sample))[:TRAINING_ROWS]
        scale = _scale_of(sample[chosen], spec)
        rows = _plain_rows(sample[chosen], spec, scale)
        m, padded = _groups(spec, bits)
        order = _better_order(rows, spec, m, padded, (seed, threads))
        centroids = native.train_product(_arranged(rows, order), m, iterations=_ITERATIONS, seed=seed, threads=threads)
        return cls(spec, order, centroids, scale)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `from_arrays` takes: plain arrays, 4 bytes per padded dimension and centroid value."""
        return {
            "order": self.order.copy(),
            "centroids": self.centroids.copy(),
            "scale": np.array([self.scale], np.float64),
        }

    @classmethod
    def from_arrays(cls, spec: VectorSpec, arrays: Mapping[str, NDArray[Any]]) -> Codebook:
        """Return the codebook that `arrays` came from; raise Corrupted if they cannot be one."""
        _refuse_unscannable(spec)
        order = _array(arrays, "order", np.dtype(np.int32), 1)
        centroids = _array(arrays, "centroids", np.dtype(np.float32), 3)
        scale = _array(arrays, "scale", np.dtype(np.float64), 1)
        m, size, width = centroids.shape
        allowed = [_groups(spec, bits) for bits in get_args(Bits)]
        if size != 16 or (m, m * width) not in allowed:
            raise Corrupted(f"codebook: centroids have shape {centroids.shape}, not that of {spec.dim} dimensions")
        if len(order) != m * width or not np.array_equal(np.sort(order), np.arange(m * width)):
            raise Corrupted(f"codebook: order is not a permutation of {m * width} places")
        with np.errstate(invalid="ignore"):
            if not (np.abs(centroids) <= 2 * _LARGEST).all():
                raise Corrupted("codebook: a centroid is not a number in range")
        if len(scale) != 1 or not (2.0**-200 <= float(scale[0]) <= 2.0**200):
            raise Corrupted(f"codebook: scale {shorten(scale.tolist())} is not one positive number in range")
        return cls(spec, order.copy(), np.ascontiguousarray(centroids).copy(), float(scale[0]))

    @property
    def bits(self) -> Bits:
        """Bits of code per dimension; of very many dimensions, whose groups are wider, the coarser of the two."""
        return 1 if self.centroids.shape[2] >= _WIDTHS[1] else 2

    @property
    def code_bytes(self) -> int:
        """Bytes per row of code."""
        return self.m // 2

    def encode(self, vectors: NDArray[Any], *, threads: int = 1) -> NDArray[np.uint8]:
        """Return codes (n, m / 2) of `vectors` (n, dim), in storage type.

        The code of a row depends on that row alone. Cost at 256 dimensions, one thread: 4 us per
        row at 1 bit, 6 us at 2; memory for temporaries is bounded.
        """
        _check_rows(vectors, self.spec)
        codes = np.empty((len(vectors), self.code_bytes), np.uint8)
        step = max(32, min(_STEP_ELEMENTS // len(self.order), -(-len(vectors) // max(1, threads))))

        def encode_part(start: int) -> None:
            rows = _plain_rows(vectors[start : start + step], self.spec, self.scale)
            codes[start : start + step] = self._codes.encode(_arranged(rows, self.order))

        starts = range(0, len(vectors), step)
        if threads <= 1 or len(starts) <= 1:
            for start in starts:
                encode_part(start)
        else:
            # Long-lived threads would gain nothing: each task takes milliseconds.
            with ThreadPoolExecutor(threads, "vicinal-encode") as pool:
                list(pool.map(encode_part, starts))
        return codes

    def terms(self, queries: NDArray[Any]) -> NDArray[np.float32]:
        """Return queries (nq, dim) as scans take them: (nq, padded dim), ordered and scaled.

        For products only the direction matters, so queries get unit length.
        """
        if queries.ndim != 2 or queries.shape[1] != self.spec.dim:
            raise InvalidInput(f"expected queries of shape (n, {self.spec.dim}), got {queries.shape}")
        if len(queries) == 1 and queries.dtype == np.float32:
            exact = queries[0].astype(np.float64)
            square = float(exact.dot(exact))
            if _ORDINARY[0] < square < _ORDINARY[1] and (
                self.spec.metric != "l2" or math.sqrt(square) * self.scale <= _LARGEST
            ):
                factor = self.scale if self.spec.metric == "l2" else 1.0 / math.sqrt(square)
                scaled = queries * np.float32(factor)
                return scaled if self._natural else _arranged(scaled, self.order)
        exact = queries.astype(np.float64)
        squares = np.vecdot(exact, exact)
        if not np.isfinite(squares).all():
            raise InvalidInput("a query holds a number that is not finite")
        if self.spec.metric == "l2":
            exact = np.clip(exact * self.scale, -_LARGEST, _LARGEST)
        else:
            squares[squares == 0] = 1.0
            exact /= np.sqrt(squares)[:, None]
        return _arranged(exact.astype(np.float32), self.order)

    def nearest(
        self, terms: NDArray[np.float32], codes: NDArray[np.uint8], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Compare queries directly with a few codes; see `native.ProductCodes.nearest`."""
        return self._codes.nearest(terms, codes, k, l2=self.l2)


def _refuse_unscannable(spec: VectorSpec) -> None:
    if not scannable(spec):
        raise InvalidInput(
            f"{spec.dim} dimensions of {spec.dtype} compared by {spec.metric} are not coded: "
            f"codes are for f32, f16 and i8 by cosine, l2 or dot, from {_MIN_DIM} dimensions"
        )


def _check_rows(vectors: NDArray[Any], spec: VectorSpec) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != spec.width or vectors.dtype != spec.storage_dtype:
        raise InvalidInput(
            f"expected vectors of shape (n, {spec.width}) and type {spec.storage_dtype}, "
            f"got {vectors.shape} and {vectors.dtype}"
        )


def _array(arrays: Mapping[str, NDArray[Any]], name: str, dtype: np.dtype[Any], ndim: int) -> NDArray[Any]:
    array = arrays.get(name)
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else shorten(array)
        raise Corrupted(f"codebook: {name} must be a {dtype} array of {ndim} dimension(s), found {found}")
    return array


def _groups(spec: VectorSpec, bits: Bits) -> tuple[int, int]:
    """Return m, which is even, and the padded dimension."""
    most = _MAX_PRODUCT_GROUPS if spec.metric == "dot" else _MAX_GROUPS
    width = max(_WIDTHS[bits], -(-spec.dim // most))
    m = -(-spec.dim // width)
    m += m % 2
    return m, m * width


def _compares_by_l2(spec: VectorSpec, m: int) -> bool:
    # Products rank normalised rows a little better than distances of their codes do, but beyond
    # this many groups the sum of the very best row might wrap around; l2 wraps the farthest.
    return spec.metric == "l2" or (spec.metric == "cosine" and m > _MAX_PRODUCT_GROUPS)


def _scale_of(rows: NDArray[Any], spec: VectorSpec) -> float:
    """Return the power of two that brings the typical element near one."""
    if spec.metric == "cosine":
        return 1.0
    largest = np.abs(rows.astype(np.float64)).max(axis=1)
    typical = float(np.median(largest))
    return 2.0 ** -int(np.frexp(typical)[1]) if typical > 0 else 1.0


def _plain_rows(vectors: NDArray[Any], spec: VectorSpec, scale: float) -> NDArray[np.float32]:
    """Return normalised (cosine) and scaled float32 copies, every element finite and bounded."""
    rows = np.ascontiguousarray(decoded(vectors))
    if spec.metric == "cosine":
        with np.errstate(over="ignore", under="ignore"):
            squares = np.vecdot(rows, rows).astype(np.float64)
        odd = ~((squares >= 2.0**-90) & (squares <= 2.0**120))
        factors = 1.0 / np.sqrt(np.where(odd, 1.0, squares))
        result: NDArray[np.float32] = rows * factors.astype(np.float32)[:, None]
        if odd.any():
            exact = rows[odd].astype(np.float64)
            lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
            result[odd] = exact * (1.0 / np.where(lengths == 0, 1.0, lengths))[:, None]
    else:
        with np.errstate(over="ignore", under="ignore"):
            # A scale beyond float32 belongs to rows that float32 can hardly hold.
            factor = np.float32(scale) if 2.0**-120 <= scale <= 2.0**120 else np.float64(scale)
            result = (rows * factor).astype(np.float32, copy=False)
        np.clip(result, -_LARGEST, _LARGEST, out=result)
    if not np.isfinite(np.add.reduce(result, axis=None)):
        raise InvalidInput("a vector holds a number that is not finite")
    return result


def _arranged(rows: NDArray[np.float32], order: NDArray[np.int32]) -> NDArray[np.float32]:
    if rows.shape[1] < len(order):
        wide = np.zeros((len(rows), len(order)), np.float32)
        wide[:, : rows.shape[1]] = rows
        rows = wide
    return rows.take(order, axis=1)


def _better_order(
    rows: NDArray[np.float32], spec: VectorSpec, m: int, padded: int, how: tuple[int, int]
) -> NDArray[np.int32]:
    """Return dimensions as they come, or dealt by variance where distances gain from it."""
    natural = np.arange(padded, dtype=np.int32)
    variance = np.zeros(padded)
    variance[: spec.dim] = rows.var(axis=0, dtype=np.float64)
    dealt = np.empty((m, padded // m), np.int32)
    ranked = np.argsort(-variance, kind="stable").astype(np.int32)
    for turn, hand in enumerate(ranked.reshape(padded // m, m)):
        dealt[:, turn] = hand[::-1] if turn % 2 else hand
    errors = [_distance_error(_arranged(rows, order), spec, m, how) for order in (natural, dealt.ravel())]
    return dealt.ravel() if errors[1] < _DEALT_BETTER * errors[0] else natural


def _distance_error(rows: NDArray[np.float32], spec: VectorSpec, m: int, how: tuple[int, int]) -> float:
    """Return the spread of the error of code distances between held-out rows, after a short training."""
    n_rows, n_queries = _TRIAL_PAIRS
    held_out = rows[-n_rows:].astype(np.float64)
    queries = rows[-n_rows - n_queries : -n_rows] if len(rows) > 2 * (n_rows + n_queries) else rows[:n_queries]
    seed, threads = how
    sample = rows[:_TRIAL_ROWS]
    centroids = native.train_product(sample, m, iterations=_TRIAL_ITERATIONS, seed=seed, threads=threads)
    codes = native.ProductCodes(centroids)
    error = codes.decode(codes.encode(rows[-n_rows:])) - held_out
    spread = queries.astype(np.float64) @ error.T
    if _compares_by_l2(spec, m):
        spread = np.einsum("ij,ij->i", error, error + 2.0 * held_out) - 2.0 * spread
    return float(spread.std())
