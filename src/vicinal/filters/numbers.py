"""Exact comparison of number arrays with literals of the other number type.

Nothing is rounded: a float literal becomes the int bound that selects the same ints, and an
int literal too large for a float becomes the neighbouring float bound.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vicinal.filters.buffer import Array

__all__ = ["COMPARE", "compare_floats", "compare_ints", "floats_in", "ints_in"]

Mask = NDArray[np.bool_]
Order = Literal["==", "<", "<=", ">", ">="]

COMPARE: dict[Order, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
# Up to this many values, one comparison each is faster than a search.
_FEW = 12
_NARROW_BYTES = 2
# Within this distance, a table over the range of the values is faster than a search.
_MAX_TABLE = 1 << 22


def compare_ints(values: Array, op: Order, bound: float) -> Mask:
    """Return `values op bound` for an array of any int width; the bound may be any int."""
    if isinstance(bound, float):
        if op == "==" and not bound.is_integer():
            return np.zeros(len(values), np.bool_)
        bound = math.ceil(bound) if op in ("<", ">=") else math.floor(bound)
    limits = np.iinfo(values.dtype)
    if limits.min <= bound <= limits.max:
        mask: Mask = COMPARE[op](values, values.dtype.type(bound))
        return mask
    return np.full(len(values), COMPARE[op](0, bound))


def compare_floats(values: Array, op: Order, bound: float) -> Mask:
    """Return `values op bound` for an array of finite floats; the bound may be any int."""
    if isinstance(bound, int):
        exact, bound = bound, _nearest(bound)
        if math.isinf(bound) or int(bound) != exact:
            if op == "==":
                return np.zeros(len(values), np.bool_)
            # No float lies between the literal and its nearest float, so < and <= coincide.
            below = op in ("<", "<=")
            op = ("<" if below else ">=") if bound > exact else ("<=" if below else ">")
    mask: Mask = COMPARE[op](values, bound)
    return mask


def ints_in(values: Array, wanted: Sequence[float]) -> Mask:
    """Return which ints equal one of the numbers."""
    limits = np.iinfo(values.dtype)
    exact = sorted({int(each) for each in wanted if each == int(each) and limits.min <= each <= limits.max})
    table = np.array(exact, values.dtype)
    if len(exact) <= _FEW:
        return _in_sorted(values, table)
    if values.itemsize <= _NARROW_BYTES:
        # A table of all values there are; unsigned views of equal ints are equal.
        unsigned = np.dtype(f"u{values.itemsize}")
        every = np.zeros(1 << (8 * values.itemsize), np.bool_)
        every[table.view(unsigned)] = True
        return every.take(values.view(unsigned))
    if exact[-1] - exact[0] < _MAX_TABLE:
        return np.isin(values, table, kind="table")
    return _in_sorted(values, table)


def floats_in(values: Array, wanted: Sequence[float]) -> Mask:
    """Return which floats equal one of the numbers."""
    exact = sorted({_nearest(each) for each in wanted if _nearest(each) == each})
    return _in_sorted(values, np.array(exact, np.float64))


def _in_sorted(values: Array, table: Array) -> Mask:
    if len(table) <= _FEW:
        mask = np.zeros(len(values), np.bool_)
        for each in table:
            mask |= values == each
        return mask
    places = np.searchsorted(table, values)
    places[places == len(table)] = 0
    found: Mask = table[places] == values
    return found


def _nearest(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
