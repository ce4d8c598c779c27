"""Vectorised evaluation of a filter over columns; `naive` says what it must return.

Cost at 1,000,000 rows on one thread: under 1 ms for comparisons of numbers, of strings with few
distinct values and of lists of a few elements; 2-5 ms per million elements beyond the eighth of a
list. A predicate on strings runs once per distinct string, so a column of a million different
strings costs 30-150 ms for `<` and `like`, about 1 s for `regex`; `==` and `in` look up codes and
stay fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vicinal.filters import ast
from vicinal.filters.column import Column, Mask
from vicinal.filters.encode import Tag
from vicinal.filters.path import Path
from vicinal.filters.pattern import like_matcher, regex_matcher
from vicinal.filters.predicates import compare, contains_all, contains_any, member, text

__all__ = ["evaluate"]

ColumnOf = Callable[[Path], Column | None]


def evaluate(node: ast.Node, column_of: ColumnOf, n: int) -> Mask:
    """Return which of the `n` rows pass the filter, as a fresh array.

    `column_of` gives the column of a path, or None if no row has the field. Raises
    MissingExtra for `regex` without RE2.

    >>> years = Column.from_values([2023, 2024, None])
    >>> evaluate(ast.Compare(("year",), ">=", 2024), {("year",): years}.get, 3).tolist()
    [False, True, False]
    """
    match node:
        case ast.And(nodes):
            return _conjunction(nodes, column_of, n)
        case ast.Or(nodes):
            return _disjunction(nodes, column_of, n)
        case ast.Not(inner):
            return _inverted(evaluate(inner, column_of, n))
        case _:
            column = column_of(node.path)
            if column is None:
                return np.full(n, _holds_where_missing(node))
            if len(column) != n:
                raise ValueError(f"the column {node.path} has {len(column)} rows, expected {n}")
            return _leaf(node, column)


def _conjunction(nodes: Sequence[ast.Node], column_of: ColumnOf, n: int) -> Mask:
    first, *others = sorted(nodes, key=_effort)
    mask = evaluate(first, column_of, n)
    for node in others:
        if not mask.any():
            break
        mask &= evaluate(node, column_of, n)
    return mask


def _disjunction(nodes: Sequence[ast.Node], column_of: ColumnOf, n: int) -> Mask:
    first, *others = sorted(nodes, key=_effort)
    mask = evaluate(first, column_of, n)
    for node in others:
        if mask.all():
            break
        mask |= evaluate(node, column_of, n)
    return mask


def _effort(node: ast.Node) -> int:
    """Return a coarse cost class, so that cheap predicates get the chance to decide first."""
    match node:
        case ast.Regex():
            return 4
        case ast.Like():
            return 3
        case ast.Contains() | ast.ContainsAny() | ast.ContainsAll():
            return 2
        case ast.And() | ast.Or() | ast.Not():
            return 1
        case _:
            return 0


def _holds_where_missing(node: ast.Leaf) -> bool:
    match node:
        case ast.IsNull() | ast.NotIn():
            return True
        case ast.Compare(_, op, _):
            return op == "!="
        case _:
            return False


def _leaf(node: ast.Leaf, column: Column) -> Mask:
    match node:
        case ast.Compare(_, op, value):
            return _inverted(compare(column, "==", value)) if op == "!=" else compare(column, op, value)
        case ast.Between(_, low, high):
            mask = compare(column, ">=", low)
            mask &= compare(column, "<=", high)
            return mask
        case ast.In(_, values):
            return member(column, values)
        case ast.NotIn(_, values):
            return _inverted(member(column, values))
        case ast.Like(_, pattern, ignore_case):
            return text(column, like_matcher(pattern, ignore_case=ignore_case))
        case ast.Regex(_, pattern):
            return text(column, regex_matcher(pattern))
        case ast.IsNull():
            return column.has(Tag.MISSING, Tag.NULL)
        case ast.Exists():
            return _inverted(column.has(Tag.MISSING))
        case ast.Contains(_, value):
            return contains_any(column, (value,))
        case ast.ContainsAny(_, values):
            return contains_any(column, values)
        case ast.ContainsAll(_, values):
            return contains_all(column, values)


def _inverted(mask: Mask) -> Mask:
    return np.logical_not(mask, out=mask)
