"""Kernels that read f16, int8 and bit rows as they are stored, one query at a time.

f16 and int8 rows are decoded in registers by faiss, so a scan costs the memory traffic of the
small type. L1 has no such kernel; over int8 it becomes one through `sum |x - q| = sum x + sum q -
2 sum min(x, q)`: the minimum is a SIMD pass over integers, its sum an inner product with ones.
Rows are taken in chunks whose working memory stays in the processor's caches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.index import native
from vicinal.index.kernels import gamma
from vicinal.index.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.vectors import VectorSpec

__all__ = ["Bits", "Codes", "MinimumL1"]

_CHUNK_BYTES = 1 << 21
_PASS_BYTES = 1 << 19
_SIGN = np.uint8(128)


def _chunks(n: int, row_bytes: int) -> list[slice]:
    step = max(16, _CHUNK_BYTES // row_bytes)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _padded(width: int, multiple: int) -> int:
    return -(-width // multiple) * multiple


class Codes:
    """cosine, dot and l2 over f16 and int8 rows. Queries of int8 fields are whole numbers."""

    __slots__ = ("_norms", "_scanners", "_spec", "_width", "offset", "relative", "scale")

    def __init__(self, queries: NDArray[np.float32], spec: VectorSpec) -> None:
        exact = queries.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        self._spec = spec
        self._norms = norms
        self._width = _padded(spec.dim, native.ALIGNMENT)
        self.offset = np.zeros(len(queries))
        self.scale = np.ones(len(queries))
        self.relative = gamma(2 * spec.dim + 8) if spec.metric == "l2" else 0.0
        if spec.metric == "cosine":
            self.scale = 1.0 / np.where(norms == 0, 1.0, norms)
        code: native.CodeType = "f16" if spec.dtype == "f16" else "i8"
        padded = np.zeros((len(queries), self._width), np.float32)
        padded[:, : spec.dim] = queries
        self._scanners = [native.CodeScanner(code, query, l2=spec.metric == "l2") for query in padded]

    def run(self, rows: NDArray[Any], norms: NDArray[np.float32] | None, out: NDArray[np.float32]) -> None:
        """Write raw numbers (nq, n)."""
        encoded = self._encoder()
        copies = self._spec.dtype == "i8" or self._width != self._spec.dim
        parts = _chunks(len(rows), self._width * rows.itemsize) if copies else [slice(None)]
        for part in parts:
            codes = encoded(rows[part])
            for scanner, target in zip(self._scanners, out, strict=True):
                scanner.scan(codes, target[part])
        if self._spec.metric != "l2":
            np.negative(out, out=out)
        if self._spec.metric == "cosine" and norms is not None:
            out *= norms

    def _encoder(self) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
        dim, width = self._spec.dim, self._width
        if self._spec.dtype == "f16" and width == dim:
            return lambda rows: np.ascontiguousarray(rows).view(np.uint8)
        if self._spec.dtype == "f16":

            def padded(rows: NDArray[Any]) -> NDArray[np.uint8]:
                target = scratch("codes", (len(rows), width), np.float16)
                target[:, :dim] = rows
                target[:, dim:] = 0
                return target.view(np.uint8)

            return padded

        def flipped(rows: NDArray[Any]) -> NDArray[np.uint8]:
            # faiss reads signed bytes as value + 128: the sign bit flipped.
            target = scratch("codes", (len(rows), width), np.uint8)
            np.bitwise_xor(rows.view(np.uint8), _SIGN, out=target[:, :dim])
            target[:, dim:] = _SIGN
            return target

        return flipped

    def slack(self, norms: NDArray[np.float64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return absolute bounds: products of halves and bytes neither overflow nor underflow."""
        shape = np.broadcast(norms, queries).shape
        if self._spec.metric == "l2":
            return np.full(shape, self._spec.dim * 2.0**-126)
        rounding = gamma(self._spec.dim + 8)
        if self._spec.metric == "cosine":
            return np.full(shape, rounding)
        bound: NDArray[np.float64] = rounding * norms * self._norms[queries] + self._spec.dim * 2.0**-126
        return bound


class MinimumL1:
    """l1 over int8 rows; the queries are whole numbers of the same range."""

    __slots__ = ("_dim", "_queries", "_sums", "offset", "relative", "scale")

    def __init__(self, queries: NDArray[np.float32], spec: VectorSpec) -> None:
        self._dim = spec.dim
        self._queries = queries.astype(np.int8)
        self.offset = queries.sum(axis=1, dtype=np.float64)
        self.scale = np.ones(len(queries))
        # |min(x, q)| sums to at most the distance plus sum |q|.
        self._sums = np.abs(queries).sum(axis=1, dtype=np.float64)
        self.relative = 4.0 * gamma(spec.dim + 8)

    def run(self, rows: NDArray[Any], norms: NDArray[np.float32] | None, out: NDArray[np.float32]) -> None:
        """Write `sum x - 2 sum min(x, q)` (nq, n)."""
        if norms is None:
            raise ValueError("l1 over i8 needs row_norms")
        width = _padded(self._dim, native.ALIGNMENT)
        ones = native.CodeScanner("i8", np.ones(width, np.float32))
        parts = _chunks(len(rows), width)
        step = max(1, min(_PASS_BYTES // width, len(rows)))
        least = scratch("minimum", (parts[0].stop if parts else 0, width), np.int8)
        tile = scratch("tile", (step, self._dim), np.int8)  # operands of one shape make one long SIMD loop
        for query, target in zip(self._queries, out, strict=True):
            tile[:] = query
            for part in parts:
                count = part.stop - part.start
                least[:, self._dim :] = 0
                for start in range(0, count, step):
                    stop = min(start + step, count)
                    here = rows[part.start + start : part.start + stop]
                    np.minimum(here, tile[: len(here)], out=least[start:stop, : self._dim])
                    codes = least[start:stop].view(np.uint8)
                    np.bitwise_xor(codes, _SIGN, out=codes)
                ones.scan(least[:count].view(np.uint8), target[part])
        out *= -2.0
        out += norms

    def slack(self, norms: NDArray[np.float64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return absolute bounds."""
        bound = self.relative * self._sums[queries] + self._dim * 2.0**-126
        return np.broadcast_to(bound, np.broadcast(norms, queries).shape)


class Bits:
    """hamming over packed bits: exact."""

    __slots__ = ("_queries", "_width", "offset", "relative", "scale")

    def __init__(self, queries: NDArray[np.uint8], spec: VectorSpec) -> None:
        self._width = _padded(spec.width, 8)
        self._queries = np.zeros((len(queries), self._width), np.uint8)
        self._queries[:, : spec.width] = queries
        self.offset = np.zeros(len(queries))
        self.scale = np.ones(len(queries))
        self.relative = 0.0

    def run(self, rows: NDArray[Any], norms: NDArray[np.float32] | None, out: NDArray[np.float32]) -> None:  # noqa: ARG002
        """Write distances (nq, n)."""
        if rows.shape[1] != self._width:
            wide = np.zeros((len(rows), self._width), np.uint8)
            wide[:, : rows.shape[1]] = rows
            rows = wide
        counts = scratch("counts", out.shape, np.int32)
        native.hamming_distances(self._queries, np.ascontiguousarray(rows), counts)
        out[:] = counts

    def slack(self, norms: NDArray[np.float64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return zeros."""
        return np.zeros(np.broadcast(norms, queries).shape)
