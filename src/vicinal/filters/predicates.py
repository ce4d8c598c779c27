"""Predicates on one column, each returning a fresh mask of the rows where it holds.

They first run on the array of the literal's type, whose rows of other types hold 0, and then
clear those rows. Strings need no clearing: code 0 stands for no string at all.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from vicinal.filters.encode import Tag, element_key
from vicinal.filters.literal import Kind, Scalar, kind_of, microseconds
from vicinal.filters.numbers import COMPARE, Order, compare_floats, compare_ints, floats_in, ints_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from vicinal.filters.buffer import Array
    from vicinal.filters.column import Column, Mask
    from vicinal.filters.pattern import Matcher

__all__ = ["compare", "contains_all", "contains_any", "member", "text"]

# Up to this many codes, one comparison each is faster than a table of bools.
_FEW = 12
# Up to this many values, passes over the elements for each are faster than sorting.
_FEW_VALUES = 32


def compare(column: Column, op: Order, value: Scalar) -> Mask:
    """Return where the field is of the literal's type and `field op value`."""
    match value:
        case bool():
            return column.has(*(Tag(Tag.FALSE + each) for each in (False, True) if COMPARE[op](each, value)))
        case str():
            return _compare_text(column, op, value)
        case int() | float():
            mask = _on(column, Tag.INT, lambda ints: compare_ints(ints, op, value))
            if column.array(Tag.FLOAT) is not None:
                mask |= _on(column, Tag.FLOAT, lambda floats: compare_floats(floats, op, value))
            return mask
        case _:
            return _on(column, Tag.DATETIME, lambda times: compare_ints(times, op, microseconds(value)))


def member(column: Column, values: Iterable[Scalar]) -> Mask:
    """Return where the field equals one of the literals."""
    groups: dict[Kind, list[Scalar]] = {}
    for value in values:
        groups.setdefault(kind_of(value), []).append(value)
    mask = np.zeros(len(column), np.bool_)
    for kind, group in groups.items():
        mask |= _member_of_kind(column, kind, group)
    return mask


def text(column: Column, matcher: Matcher) -> Mask:
    """Return where the field is a string that matches; runs once per distinct string."""
    codes = column.array(Tag.STR)
    if codes is None:
        return np.zeros(len(column), np.bool_)
    known = column.strings.values()
    matched = np.fromiter(matcher(known), np.bool_, count=len(known))
    return _with_codes(codes, np.flatnonzero(matched) + 1, len(known))


def contains_any(column: Column, values: Sequence[Scalar]) -> Mask:
    """Return where the field is a list that has one of the literals."""
    mask = np.zeros(len(column), np.bool_)
    wanted = column.elements.codes(list(map(element_key, values)))
    if len(wanted):
        for layer in column.layers:
            mask |= _with_codes(layer, wanted, len(column.elements))
        found = np.flatnonzero(_with_codes(column.element_codes, wanted, len(column.elements)))
        mask[column.element_rows.take(found)] = True
    return mask


def contains_all(column: Column, values: Sequence[Scalar]) -> Mask:
    """Return where the field is a list that has all of the literals."""
    mask = column.has(Tag.LIST)
    wanted = column.elements.codes(list(map(element_key, values)))
    if len(wanted) < len(values):
        mask[:] = False
    elif len(values) <= _FEW_VALUES:
        for value in values:
            mask &= contains_any(column, (value,))
    else:
        # Count the distinct wanted elements of each row: the cost does not grow with `values`.
        size = len(column.elements) + 1
        pairs = [_pairs(np.arange(len(column)), layer, wanted, size) for layer in column.layers]
        pairs.append(_pairs(column.element_rows, column.element_codes, wanted, size))
        counts = np.bincount(np.unique(np.concatenate(pairs)) // size, minlength=len(column))
        mask &= counts == len(wanted)
    return mask


def _pairs(rows: NDArray[np.integer], codes: Array, wanted: Array, size: int) -> NDArray[np.int64]:
    """Return `row * size + code` of the elements that are wanted."""
    found = np.flatnonzero(_with_codes(codes, wanted, size - 1))
    return rows[found].astype(np.int64) * size + codes[found]


def _on(column: Column, tag: Tag, predicate: Callable[[Array], Mask]) -> Mask:
    array = column.array(tag)
    if array is None:
        return np.zeros(len(column), np.bool_)
    return column.restrict(predicate(array), tag)


def _compare_text(column: Column, op: Order, value: str) -> Mask:
    if op == "==":
        return _member_of_kind(column, "str", [value])
    holds = COMPARE[op]
    return text(column, lambda strings: [holds(string, value) for string in strings])


def _member_of_kind(column: Column, kind: Kind, values: Sequence[Scalar]) -> Mask:
    match kind:
        case "bool":
            return column.has(*(Tag(Tag.FALSE + each) for each in (False, True) if each in values))
        case "number":
            numbers = [value for value in values if isinstance(value, int | float)]
            mask = _on(column, Tag.INT, lambda ints: ints_in(ints, numbers))
            if column.array(Tag.FLOAT) is not None:
                mask |= _on(column, Tag.FLOAT, lambda floats: floats_in(floats, numbers))
            return mask
        case "datetime":
            times = [microseconds(value) for value in values if isinstance(value, datetime)]
            return _on(column, Tag.DATETIME, lambda array: ints_in(array, times))
        case "str":
            codes = column.array(Tag.STR)
            if codes is None:
                return np.zeros(len(column), np.bool_)
            wanted = column.strings.codes([value for value in values if isinstance(value, str)])
            return _with_codes(codes, wanted, len(column.strings))


def _with_codes(codes: Array, wanted: Array, n_codes: int) -> Mask:
    """Return where `codes` holds one of `wanted`; `n_codes` is the highest code there is."""
    if len(wanted) > _FEW:
        table = np.zeros(n_codes + 1, np.bool_)
        table[wanted] = True
        return table.take(codes)
    # A code that this version's width cannot hold was added for a later version.
    first, *others = [codes.dtype.type(code) for code in wanted[wanted <= np.iinfo(codes.dtype).max]] or [None]
    mask = np.zeros(len(codes), np.bool_) if first is None else codes == first
    for code in others:
        mask |= codes == code
    return mask
