"""Nodes from loosely typed operands: the rules that all spellings share, null above all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from vicinal.errors import InvalidFilter
from vicinal.filters.ast import And, Compare, CompareOperator, In, IsNull, Node, Not, NotIn, Or

if TYPE_CHECKING:
    from vicinal.filters.literal import Scalar
    from vicinal.filters.path import Path

__all__ = ["compare", "membership"]


def compare(path: Path, op: CompareOperator, value: object) -> Node:
    """Return `path op value`; equality with None becomes a null test."""
    if value is not None:
        return Compare(path, op, cast("Scalar", value))
    match op:
        case "==":
            return IsNull(path)
        case "!=":
            return Not(IsNull(path))
        case _:
            raise InvalidFilter(f"null has no order: {op} null is never true; use is_null() or `is null`")


def membership(path: Path, values: object, *, negated: bool = False) -> Node:
    """Return `path in values`; None among the values adds a null test."""
    node = NotIn if negated else In
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        return node(path, cast("tuple[Scalar, ...]", values))
    items = list(values)
    others = cast("tuple[Scalar, ...]", tuple(item for item in items if item is not None))
    if len(others) == len(items):
        return node(path, others)
    null = IsNull(path)
    if not others:
        return Not(null) if negated else null
    return And((Not(null), NotIn(path, others))) if negated else Or((null, In(path, others)))
