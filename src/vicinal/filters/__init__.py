"""Filters over metadata: three spellings, one tree, one meaning.

Pure: values and NumPy arrays in, boolean arrays out. `parse_filter` reads `F` expressions,
Mongo-style dicts and SQL text into one tree (`ast` states its meaning); `evaluate` runs it over
typed columns, `matches` over one row. The two share no comparison code and always agree.
"""

from __future__ import annotations

from collections.abc import Mapping

from vicinal.errors import InvalidFilter, shorten
from vicinal.filters.ast import Node, fields, to_dict
from vicinal.filters.column import MISSING, Column, value_at
from vicinal.filters.evaluate import evaluate
from vicinal.filters.expression import Expression, F, Field
from vicinal.filters.mongo import parse_mapping
from vicinal.filters.naive import matches
from vicinal.filters.path import Path, parse_path
from vicinal.filters.sql import Parameters, parse_sql

__all__ = [
    "MISSING",
    "Column",
    "Expression",
    "F",
    "Node",
    "Path",
    "evaluate",
    "fields",
    "matches",
    "parse_filter",
    "parse_path",
    "to_dict",
    "value_at",
]


def parse_filter(
    where: str | Mapping[str, object] | Expression | Node | None, params: Parameters = None
) -> Node | None:
    """Return the tree of a filter in any spelling; None and {} are no filter.

    `params` binds the `?` or `:name` parameters of SQL text. Raises InvalidFilter.

    >>> str(parse_filter({"year": {"$gte": 2024}}))
    'year >= 2024'
    >>> parse_filter("year >= ?", [2024]) == parse_filter(F("year") >= 2024)
    True
    """
    if isinstance(where, str):
        return parse_sql(where, params)
    if params is not None:
        raise InvalidFilter("params belong to a filter in SQL text; this filter is not text")
    match where:
        case None:
            return None
        case Expression():
            return where.node
        case Mapping():
            return parse_mapping(where) if where else None
    if isinstance(where, Node):
        return where
    hint = f"; {where!r} alone is no condition" if isinstance(where, Field) else ""
    raise InvalidFilter(f"a filter is SQL text, a dict or an F expression, got {shorten(where)}{hint}")
