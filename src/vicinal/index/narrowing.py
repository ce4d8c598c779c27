"""L1 by bytes: which rows may be among the nearest, told by one byte per dimension.

Processors have no fast kernel for `sum |x - q|` over half floats, and over float32 it moves every
byte of the rows. Codes are a half or a quarter as long, and `sum |c - d| = sum c + sum d - 2 sum
min(c, d)` is a SIMD minimum and a sum. The triangle inequality keeps the answer exact: a row is
nearer than its code says by at most its own rounding error, which is stored, and the query's.
The few rows left are compared by the float kernels.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from vicinal.index import native
from vicinal.index.candidates import with_ties
from vicinal.index.choice import GATHER_SHARE, kth_bound
from vicinal.index.scratch import scratch
from vicinal.index.workers import share

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.index.block import Block
    from vicinal.index.bytecodes import Levels, Rounded
    from vicinal.index.choice import Scan

__all__ = ["narrow"]

_PASS_BYTES: Final = 1 << 19
_PIECE_BYTES: Final = 1 << 21
_GROUP_ROWS: Final = 1 << 20
_TOO_MANY: Final = 0.125
_FEW: Final = 1024


def narrow(blocks: list[Block], scan: Scan, workers: int) -> list[Block]:
    """Add the candidates of one query among blocks with codes; return the blocks that this cannot serve.

    Those are blocks without codes, blocks whose mask lets few rows pass, and all, where the codes
    tell too little of this query (one far outside the levels).
    """
    served = [block for block in blocks if block.codes is not None and _many_pass(block)]
    kernels: dict[Levels, _ByteKernel] = {}
    refused: list[Block] = []
    group = max(1, _GROUP_ROWS // max((len(block.vectors) for block in served), default=1))
    for start in range(0, len(served), group):
        part = served[start : start + group]
        for block, raw, kernel in _estimates(part, scan, kernels, workers):
            rows = None if refused else _left(block, raw, kernel, scan)
            if rows is None:
                refused.append(block)
            else:
                scan.compare(block, rows)
        if refused:
            refused += served[start + group :]
            break
    taken = {id(block) for block in served} - {id(block) for block in refused}
    return [block for block in blocks if id(block) not in taken]


def _many_pass(block: Block) -> bool:
    return block.mask is None or int(np.count_nonzero(block.mask)) >= GATHER_SHARE * len(block.mask)


def _estimates(
    blocks: list[Block], scan: Scan, kernels: dict[Levels, _ByteKernel], workers: int
) -> list[tuple[Block, NDArray[np.float32], _ByteKernel]]:
    """Return the raw numbers (n,) of each block's rows."""
    ends = np.cumsum([0, *(len(block.vectors) for block in blocks)]).tolist()
    numbers = scratch("numbers", (ends[-1],), np.float32)
    query = scan.candidates.queries[0].astype(np.float64)
    found: list[tuple[Block, NDArray[np.float32], _ByteKernel]] = []
    calls: list[Callable[[int], None]] = []
    for block, (low, high) in zip(blocks, pairwise(ends), strict=True):
        if block.codes is None:
            continue
        levels, rows = block.codes.levels, block.codes.rows
        if levels not in kernels:
            width = rows.codes.shape[1]
            tile = scratch(f"tile {len(kernels)}", (max(1, _PASS_BYTES // width), width), np.uint8)
            kernels[levels] = _ByteKernel(query, levels, tile)
        kernel, out = kernels[levels], numbers[low:high]
        found.append((block, out, kernel))
        step = max(16, _PIECE_BYTES // rows.codes.shape[1])
        calls += [partial(kernel.run, rows, slice(at, at + step), out) for at in range(0, high - low, step)]
    share(calls, workers)
    return found


def _left(block: Block, raw: NDArray[np.float32], kernel: _ByteKernel, scan: Scan) -> NDArray[np.int64] | None:
    """Return the rows that may be among the nearest; None if too many."""
    if block.codes is None:
        return None
    candidates = scan.candidates
    kth = kth_bound(raw[None], candidates.k, block.mask) + kernel.farthest
    np.minimum(candidates.limit, with_ties(kth, candidates.spec.metric), out=candidates.limit)
    nearest = scratch("nearest", raw.shape, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        cut = np.float32(candidates.limit[0] - kernel.nearest)
        np.multiply(block.codes.rows.errors, np.float32(-2.0), out=nearest)
        nearest += raw
        keep = nearest > np.nextafter(cut, np.float32(np.inf))
    np.logical_not(keep, out=keep)  # so that what is not known stays
    if block.mask is not None:
        keep &= block.mask
    rows = np.flatnonzero(keep)
    return None if len(rows) > max(_FEW, _TOO_MANY * len(raw)) else rows


class _ByteKernel:
    """Estimates L1 distances from one query: at most `raw + farthest`, at least `raw - 2 error + nearest`."""

    __slots__ = ("_step", "_tile", "farthest", "nearest")

    def __init__(self, query: NDArray[np.float64], levels: Levels, tile: NDArray[np.uint8]) -> None:
        code = np.clip(np.rint((query - levels.low) / levels.step), 0, 255)
        error = float(np.abs(levels.low + levels.step * code - query).sum()) * (1.0 + 2.0**-30)
        slack = error + len(query) * levels.fuzz
        total = levels.step * float(code.sum())
        self.farthest = total + slack
        self.nearest = total - slack
        self._step = levels.step
        # The query in every row: operands of one shape make one long SIMD loop.
        self._tile = tile
        self._tile[:, : len(query)] = code
        self._tile[:, len(query) :] = 0

    def run(self, rows: Rounded, part: slice, out: NDArray[np.float32], _worker: int) -> None:
        """Write raw numbers of some rows into their part of `out` (n,)."""
        codes, target, tile = rows.codes[part], out[part], self._tile
        least = scratch("least", codes.shape, np.uint8)
        for start in range(0, len(codes), len(tile)):
            stop = min(start + len(tile), len(codes))
            np.minimum(codes[start:stop], tile[: stop - start], out=least[start:stop])
        native.sums_of_bytes(least, target)
        target *= np.float32(-2.0 * self._step)
        target += rows.upper[part]
