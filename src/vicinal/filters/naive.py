"""The plain meaning of a filter, row by row; the law that `evaluate` is tested against.

Slow and obvious on purpose. It shares no comparison code with the vectorised evaluator.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vicinal.errors import MissingExtra
from vicinal.filters import ast

if TYPE_CHECKING:
    from vicinal.filters.literal import Scalar

__all__ = ["matches"]

_ABSENT = object()


def matches(node: ast.Node, metadata: Mapping[str, object]) -> bool:
    """Return whether a row with this metadata passes the filter.

    >>> matches(ast.Contains(("tags",), "diy"), {"tags": ["diy", "paint"]})
    True
    """
    match node:
        case ast.And(nodes):
            return all(matches(each, metadata) for each in nodes)
        case ast.Or(nodes):
            return any(matches(each, metadata) for each in nodes)
        case ast.Not(inner):
            return not matches(inner, metadata)
        case _:
            return _holds(node, _lookup(metadata, node.path))


def _lookup(metadata: Mapping[str, object], path: tuple[str, ...]) -> object:
    value: object = metadata
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return _ABSENT
        value = value[key]
    return value


def _holds(node: ast.Leaf, value: object) -> bool:
    match node:
        case ast.Exists():
            return value is not _ABSENT
        case ast.IsNull():
            return value is _ABSENT or value is None
        case ast.Compare(_, op, literal):
            return _compare(value, op, literal)
        case ast.Between(_, low, high):
            return _compare(value, ">=", low) and _compare(value, "<=", high)
        case ast.In(_, literals):
            return any(_equal(value, literal) for literal in literals)
        case ast.NotIn(_, literals):
            return not any(_equal(value, literal) for literal in literals)
        case ast.Like(_, pattern, ignore_case):
            return isinstance(value, str) and _like(value, pattern, ignore_case=ignore_case)
        case ast.Regex(_, pattern):
            return isinstance(value, str) and _found(pattern, value)
        case _:
            return isinstance(value, list | tuple) and _list_holds(node, value)


def _list_holds(
    node: ast.Contains | ast.ContainsAny | ast.ContainsAll, value: list[object] | tuple[object, ...]
) -> bool:
    match node:
        case ast.Contains(_, literal):
            return any(_equal(element, literal) for element in value)
        case ast.ContainsAny(_, literals):
            return any(_equal(element, literal) for element in value for literal in literals)
        case ast.ContainsAll(_, literals):
            return all(any(_equal(element, literal) for element in value) for literal in literals)


def _type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, datetime):
        return "datetime"
    if isinstance(value, str):
        return "str"
    return "other"


def _equal(value: object, literal: object) -> bool:
    return _type(value) == _type(literal) and value == literal


def _compare(
    value: Any,  # noqa: ANN401 - of the type of `literal` by then
    op: str,
    literal: Scalar,
) -> bool:
    if op == "==":
        return _equal(value, literal)
    if op == "!=":
        return not _equal(value, literal)
    if _type(value) != _type(literal):
        return False
    # Python compares int with float exactly, str by code points, aware datetimes by instant.
    less = bool(value < literal)
    match op:
        case "<":
            return less
        case "<=":
            return less or _equal(value, literal)
        case ">":
            return not less and not _equal(value, literal)
        case _:
            return not less


def _like(text: str, pattern: str, *, ignore_case: bool) -> bool:
    """Match by the textbook table: which prefixes of the text the pattern so far can be."""
    text = text.casefold() if ignore_case else text
    ends = {0}
    characters = iter(pattern)
    for char in characters:
        if char == "%":
            ends = set(range(min(ends, default=len(text) + 1), len(text) + 1))
        elif char == "_":
            ends = {end + 1 for end in ends if end < len(text)}
        else:
            wanted = next(characters) if char == "\\" else char
            wanted = wanted.casefold() if ignore_case else wanted
            ends = {end + len(wanted) for end in ends if text.startswith(wanted, end)}
    return len(text) in ends


def _found(pattern: str, text: str) -> bool:
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        raise MissingExtra.of("regex filters", "regex") from None
    return re2.search(pattern.encode(), text.encode("utf-8", "surrogatepass")) is not None
