"""The total order of the values of a column, as ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal.filters.encode import Tag

if TYPE_CHECKING:
    from vicinal.filters.buffer import Array
    from vicinal.filters.column import Column

__all__ = ["positions", "ranks"]

Ranks = NDArray[np.int64]

# Values of different groups are ordered by group.
_GROUPS = (
    *((Tag.FALSE,), (Tag.TRUE,), (Tag.INT, Tag.FLOAT)),
    *((Tag.DATETIME,), (Tag.STR,), (Tag.LIST, Tag.OBJECT)),
)
# Ints below this are floats exactly.
_EXACT = 2.0**53


def ranks(column: Column) -> Ranks:
    """Return the rank of every row among all values, -1 for missing and null."""
    keys = np.full(len(column), -1, np.int64)
    base = 0
    for tags in _GROUPS:
        mask = column.has(*tags)
        if mask.any():
            within = _within(column, tags, mask)
            keys[mask] = within + base
            base += int(within.max()) + 1
    return keys


def positions(keys: Ranks, *, descending: bool) -> Ranks:
    """Return the positions in the order of the ranks, -1 last, ties by position."""
    absent = keys < 0
    keys = np.where(absent, np.iinfo(np.int64).max, -keys if descending else keys)
    return np.argsort(keys, kind="stable")


def _within(column: Column, tags: tuple[Tag, ...], mask: NDArray[np.bool_]) -> Ranks:
    if tags == (Tag.STR,):
        return _string_ranks(column, mask)
    present = {tag: array[mask] for tag in tags if (array := column.array(tag)) is not None}
    if Tag.INT in present and Tag.FLOAT in present:
        return _number_ranks(present[Tag.INT], present[Tag.FLOAT], column.tags[mask] == Tag.FLOAT)
    for array in present.values():
        return np.unique(array, return_inverse=True)[1].astype(np.int64)
    return np.zeros(np.count_nonzero(mask), np.int64)


def _number_ranks(ints: Array, floats: Array, is_float: NDArray[np.bool_]) -> Ranks:
    """Rank ints and floats together, exactly.

    Rounding an int to a float keeps the order but may merge neighbours; what the rounding
    took away, an exact integer, then decides. It is at most 2**10 for 64-bit ints.
    """
    rounded = np.where(is_float, floats, ints.astype(np.float64))
    # 2**63, the one rounded int outside int64, is halved to fit; that is exact from 2**53 on,
    # below which nothing was rounded.
    halved = (ints.astype(np.float64) / 2).astype(np.int64)
    residual = np.where(is_float, 0, (ints.astype(np.int64) - halved) - halved)
    residual[np.abs(rounded) < _EXACT] = 0
    order = np.lexsort((residual, rounded))
    steps = (np.diff(rounded[order]) != 0) | (np.diff(residual[order]) != 0)
    result = np.empty(len(order), np.int64)
    result[order] = np.concatenate(([0], np.cumsum(steps)))
    return result


def _string_ranks(column: Column, mask: NDArray[np.bool_]) -> Ranks:
    codes = column.array(Tag.STR)
    if codes is None:
        return np.zeros(0, np.int64)
    used, inverse = np.unique(codes[mask], return_inverse=True)
    values = column.strings.values()
    names = [values[code - 1] for code in used.tolist()]
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    ranked: Ranks = rank[inverse]
    return ranked
