"""Filters as Mongo-style dicts, the spelling that travels as JSON.

`{"year": {"$gte": 2024}, "tags": {"$contains": "diy"}}`: the fields, and the operators of one
field, are joined by `and`; a bare value means `$eq`. A datetime is a datetime object or
`{"$datetime": "2024-05-01T00:00:00Z"}`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, cast

from vicinal.errors import InvalidFilter, shorten
from vicinal.filters import ast
from vicinal.filters.ast import MAX_DEPTH, Node, Not
from vicinal.filters.build import compare, membership
from vicinal.filters.literal import Scalar, parse_datetime
from vicinal.filters.path import Path, checked_path, format_path, parse_path

__all__ = ["parse_mapping"]

_GROUPS = ("$and", "$or", "$nor", "$not")


def parse_mapping(where: Mapping[Any, object], depth: int = 1) -> Node:
    """Return the tree of a Mongo-style filter; raise InvalidFilter if it is none."""
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"the filter is nested deeper than {MAX_DEPTH} levels; flatten it, or use $in")
    if not where:
        raise InvalidFilter("an empty condition {} inside a filter; remove it")
    return ast.all_of([_entry(key, value, depth) for key, value in where.items()])


def _entry(key: object, value: object, depth: int) -> Node:
    if not isinstance(key, str):
        return _field(checked_path(key), value, depth)
    match key:
        case "$and":
            return ast.all_of(_children(key, value, depth))
        case "$or":
            return ast.any_of(_children(key, value, depth))
        case "$nor":
            return Not(ast.any_of(_children(key, value, depth)))
        case "$not":
            return Not(parse_mapping(_mapping(key, value), depth + 1))
    if key.startswith("$"):
        if key in _OPERATORS:
            raise InvalidFilter(f"{key} belongs under a field: {{field: {{{key!r}: …}}}}")
        hint = _closest(key, _GROUPS)
        raise InvalidFilter(f"unknown operator {shorten(key)} at the top level{hint}; these are {_listed(_GROUPS)}")
    return _field(parse_path(key), value, depth)


def _children(key: str, value: object, depth: int) -> list[Node]:
    if not isinstance(value, list | tuple) or not value:
        raise InvalidFilter(f"{key} needs a list of one or more conditions, got {shorten(value)}")
    return [parse_mapping(_mapping(key, each), depth + 1) for each in value]


def _mapping(key: str, value: object) -> Mapping[Any, object]:
    if isinstance(value, Mapping):
        return value
    raise InvalidFilter(f"{key} needs a condition like {{field: value}}, got {shorten(value)}")


def _field(path: Path, value: object, depth: int) -> Node:
    if not isinstance(value, Mapping) or "$datetime" in value:
        return compare(path, "==", _operand(value))
    name = format_path(path)
    if not value:
        raise InvalidFilter(f"an empty condition {{}} for the field {shorten(name)}; remove it")
    return ast.all_of([_condition(path, operator, operand, depth) for operator, operand in value.items()])


def _condition(path: Path, operator: object, operand: object, depth: int) -> Node:
    if operator == "$not":
        if depth >= MAX_DEPTH:
            raise InvalidFilter(f"the filter is nested deeper than {MAX_DEPTH} levels")
        return Not(_field(path, _mapping("$not", operand), depth + 1))
    build = _OPERATORS.get(operator) if isinstance(operator, str) else None
    if build is not None:
        return build(path, operand)
    name = format_path(path)
    if isinstance(operator, str) and not operator.startswith("$"):
        raise InvalidFilter(
            f"the field {shorten(name)} is compared with an object that has the key {shorten(operator)}; "
            f"filter on the nested field instead: {shorten(format_path((*path, operator)))}"
            + (f", or write ${operator} for the operator" if f"${operator}" in _OPERATORS else "")
        )
    raise InvalidFilter(
        f"unknown operator {shorten(operator)} for the field {shorten(name)}"
        f"{_closest(operator, _OPERATORS)}; these are {_listed((*_OPERATORS, '$not'))}"
    )


def _operand(value: object) -> object:
    """Return the value, with the JSON spelling of a datetime replaced by a datetime."""
    if not isinstance(value, Mapping) or "$datetime" not in value:
        return value
    text = value["$datetime"]
    if len(value) != 1 or not isinstance(text, str):
        raise InvalidFilter(f"a datetime is written {{'$datetime': '2024-05-01T00:00:00Z'}}, got {shorten(value)}")
    return parse_datetime(text)


def _operands(value: object) -> object:
    return list(map(_operand, value)) if isinstance(value, list | tuple) else value


def _comparison(op: ast.CompareOperator) -> Callable[[Path, object], Node]:
    return lambda path, value: compare(path, op, _operand(value))


def _between(path: Path, value: object) -> Node:
    match value:
        case [low, high]:
            return ast.Between(path, cast("Scalar", _operand(low)), cast("Scalar", _operand(high)))
        case _:
            raise InvalidFilter(f"$between needs [low, high], got {shorten(value)}")


def _switch(node: Callable[[Path], Node], operator: str) -> Callable[[Path, object], Node]:
    def build(path: Path, value: object) -> Node:
        if not isinstance(value, bool):
            raise InvalidFilter(f"{operator} needs true or false, got {shorten(value)}")
        return node(path) if value else Not(node(path))

    return build


def _many(node: type[ast.ContainsAny | ast.ContainsAll]) -> Callable[[Path, object], Node]:
    return lambda path, value: node(path, cast("tuple[Scalar, ...]", _operands(value)))


_OPERATORS: dict[str, Callable[[Path, object], Node]] = {
    "$eq": _comparison("=="),
    "$ne": _comparison("!="),
    "$gt": _comparison(">"),
    "$gte": _comparison(">="),
    "$lt": _comparison("<"),
    "$lte": _comparison("<="),
    "$in": lambda path, value: membership(path, _operands(value)),
    "$nin": lambda path, value: membership(path, _operands(value), negated=True),
    "$between": _between,
    "$like": lambda path, value: ast.Like(path, cast("str", value)),
    "$ilike": lambda path, value: ast.Like(path, cast("str", value), ignore_case=True),
    "$regex": lambda path, value: ast.Regex(path, cast("str", value)),
    "$exists": _switch(ast.Exists, "$exists"),
    "$null": _switch(ast.IsNull, "$null"),
    "$contains": lambda path, value: ast.Contains(path, cast("Scalar", _operand(value))),
    "$contains_any": _many(ast.ContainsAny),
    "$contains_all": _many(ast.ContainsAll),
    "$all": _many(ast.ContainsAll),
}


def _closest(operator: object, known: Mapping[str, object] | tuple[str, ...]) -> str:
    found = difflib.get_close_matches(str(operator)[:40], list(known), n=1)
    return f", did you mean {found[0]}?" if found else ""


def _listed(operators: tuple[str, ...]) -> str:
    return " ".join(operators)
