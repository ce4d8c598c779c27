"""Blocks of vectors in storage layout, with the one number per row that searches need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.index.bytecodes import ByteCodes
    from vicinal.vectors import VectorSpec

__all__ = ["BLOCK_ROWS", "Block", "Fetch", "fetch_from", "row_norms", "side_by_side"]

BLOCK_ROWS = 65_536
"""Rows per block that searches like best; any number works."""

# Outside this range float32 products of a row with a unit query lose digits to underflow, or
# overflow; such rows carry NaN and are always compared directly.
_TINY, _HUGE = 2.0**-80, 2.0**100
_CHUNK_ELEMENTS = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows `first`, `first + 1`, … of a field: vectors (n, width) and `row_norms` of them (n,).

    `mask` (n,) is true for the rows that may be found; None lets all pass. `codes` are optional:
    L1 searches for one query are faster with them.
    """

    first: int
    vectors: NDArray[Any]
    norms: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    codes: ByteCodes | None = None

    def rows(self, start: int, stop: int) -> Block:
        """Return a view of rows `start` to `stop`, without codes."""
        part = slice(start, stop)
        return Block(
            self.first + start,
            self.vectors[part],
            None if self.norms is None else self.norms[part],
            None if self.mask is None else self.mask[part],
        )


Fetch = Callable[["NDArray[np.int64]"], "NDArray[Any]"]
"""Returns the vectors (n, width) at positions (n,)."""


def fetch_from(blocks: Sequence[Block]) -> Fetch:
    """Return what fetches vectors of these blocks, which come in ascending order; ascending positions are fastest.

    Blocks that lie side by side in one array are read as one.
    """
    runs = _runs(blocks)
    firsts = np.array([first for first, _ in runs], np.int64)

    def fetch(positions: NDArray[np.int64]) -> NDArray[Any]:
        if len(runs) == 1:
            first, vectors = runs[0]
            return vectors.take(positions - first if first else positions, 0)
        if len(positions) > 1 and (positions[1:] < positions[:-1]).any():
            order = np.argsort(positions)
            vectors = np.empty((len(positions), *runs[0][1].shape[1:]), runs[0][1].dtype)
            vectors[order] = fetch(positions[order])
            return vectors
        ends = [*np.searchsorted(positions, firsts[1:]).tolist(), len(positions)]
        vectors = np.empty((len(positions), *runs[0][1].shape[1:]), runs[0][1].dtype)
        low = 0
        for (first, run), high in zip(runs, ends, strict=True):
            if low < high:
                # Positions are in range; without a mode, `take` makes a copy before it writes.
                run.take(positions[low:high] - first, 0, vectors[low:high], "clip")
            low = high
        return vectors

    return fetch


def _runs(blocks: Sequence[Block]) -> list[tuple[int, NDArray[Any]]]:
    """Return (first position, vectors) of blocks, those together that follow one another in memory."""
    runs: list[tuple[int, NDArray[Any]]] = []
    for block in blocks:
        joined = None
        if runs and runs[-1][0] + len(runs[-1][1]) == block.first:
            joined = side_by_side([runs[-1][1], block.vectors])
        if joined is None:
            runs.append((block.first, block.vectors))
        else:
            runs[-1] = runs[-1][0], joined
    return runs


def side_by_side(parts: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    """Return as one array what are parts of one, each beginning where the one before ends; else None."""
    if len(parts) <= 1:
        return parts[0] if parts else None
    whole, end = parts[0].base, parts[0].ctypes.data
    if not isinstance(whole, np.ndarray) or not whole.flags.c_contiguous or not whole.size:
        return None
    for part in parts:
        if part.base is not whole or part.ctypes.data != end or part.shape[1:] != whole.shape[1:]:
            return None
        end += part.nbytes
    start = (parts[0].ctypes.data - whole.ctypes.data) // whole.strides[0]
    return whole[start : start + sum(map(len, parts))]


def row_norms(vectors: NDArray[Any], spec: VectorSpec) -> NDArray[np.float32] | None:
    """Return what exact search needs per row (n,), or None where it needs nothing.

    cosine: inverse norm, NaN for rows too small or large for float32 products; dot: norm;
    l2 over f32: half the squared norm, infinite when it overflows; l1 over i8: sum of the elements.
    All are computed in float64 and rounded once. Cost: about 0.1 us per row of 256
    dimensions, 4 bytes per row. The value of a row depends on that row alone, so a growing block
    may append the values of its new rows.
    """
    wanted = spec.metric in ("cosine", "dot") or (spec.dtype, spec.metric) in (("f32", "l2"), ("i8", "l1"))
    if not wanted:
        return None
    out = np.empty(len(vectors), np.float32)
    step = max(1, _CHUNK_ELEMENTS // spec.width)
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step].astype(np.float64)
        with np.errstate(over="ignore"):
            out[start : start + step] = _norms(part, spec)
    return out


def _norms(x: NDArray[np.float64], spec: VectorSpec) -> NDArray[np.float64]:
    if spec.metric == "l1":
        sums: NDArray[np.float64] = x.sum(axis=1)
        return sums
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", x, x)
    if spec.metric == "l2":
        squares *= 0.5
        return squares
    norms: NDArray[np.float64] = np.sqrt(squares)
    if spec.metric == "dot":
        return norms
    usable = (norms >= _TINY) & (norms <= _HUGE)
    inverse = np.full_like(norms, np.nan)
    np.divide(1.0, norms, out=inverse, where=usable)
    return inverse
