"""Rows and filters at random, and the rendering of a filter into each spelling.

A filter is generated as a spec, a nested tuple that knows nothing of `vicinal.filters`; the
renderers here are written apart from the `str` and `to_dict` of the nodes. `pick` chooses one
of several things: `random.choice`, or a draw of hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce
from typing import TYPE_CHECKING, Any

from vicinal.filters import Expression, F

if TYPE_CHECKING:
    from vicinal.filters.expression import Field

Pick = Callable[[Sequence[Any]], Any]
Spec = tuple[Any, ...]

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
DATETIMES = [
    NOON,
    NOON.astimezone(timezone(timedelta(hours=-7))),
    NOON + timedelta(microseconds=1),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "abc",
    "aab",
    "a%b",
    "a_b",
    "a\\b",
    "it's",
    "Straße",
    "STRASSE",
    "é",
    "😀b",
    "\n",
    "2",
    "true",
]
NUMBERS = [
    *(0, 1, 2, -1, 0.0, 1.0, 2.0, 0.5, -1.5, 127, 128, -128, -129, 40000, 2**31, 1e300, -1e300),
    *(
        2**53,
        2**53 + 1,
        2.0**53,
        2.0**53 + 2,
        2**63 - 1,
        2**63 - 2,
        -(2**63),
        2.0**63,
        -(2.0**63),
        2**62 + 1,
        2.0**62,
    ),
]
SCALARS: list[Any] = [None, True, False, *NUMBERS, *TEXTS, *DATETIMES]
LITERALS: list[Any] = [*SCALARS[1:], 2**63, -(2**63) - 1, 10**30, -(10**400), 10**400]
PATTERNS = [
    "",
    "%",
    "a",
    "a%",
    "%b",
    "%a%",
    "_",
    "a_b",
    "a\\_b",
    "a\\%b",
    "%\\\\%",
    "%a%b",
    "_%b",
    "strasse",
    "%SS%",
    "%é",
    "__",
]
REGEXES = ["", "a", "^a", "b$", "a.b", "(?i)STRASS", "[0-9]", "é|😀", r"a\\b", "it's"]
PATHS = [
    ("a",),
    ("b",),
    ("l",),
    ("n",),
    ("n", "x"),
    ("n", "y.z"),
    ("n", "x", "deep"),
    ("a.b",),
    ("a", "b"),
    ("in",),
    ("gone",),
]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]


def value(pick: Pick) -> Any:
    """Return a metadata value of any type, often from one small family so that rows agree."""
    kind = pick(["scalar", "scalar", "scalar", "number", "text", "list", "list", "object"])
    match kind:
        case "scalar":
            return pick(SCALARS)
        case "number":
            return pick([0, 1, 2, 1.0])
        case "text":
            return pick(["a", "ab", "abc"])
        case "list":
            return [pick([*SCALARS, "a", "a", 1, [1], {"x": 1}]) for _ in range(pick([0, 1, 1, 2, 2, 3, 3, 12]))]
        case _:
            return {"x": pick(SCALARS)}


def row(pick: Pick) -> dict[str, Any]:
    """Return the metadata of one row."""
    metadata = {key: value(pick) for key in ("a", "b", "l", "a.b", "in") if pick([True, True, True, False])}
    if pick([True, True, False]):
        metadata["n"] = {key: value(pick) for key in ("x", "y.z") if pick([True, True, False])}
    return metadata


def spec(pick: Pick, depth: int = 3) -> Spec:
    """Return a filter of at most so many levels."""
    if depth > 1 and pick([True, False]):
        word = pick(["and", "or", "not"])
        n = 1 if word == "not" else pick([2, 3])
        return (word, *(spec(pick, depth - 1) for _ in range(n)))
    path = pick(PATHS)
    operator = pick([*COMPARISONS, *COMPARISONS, "in", "not in", "between", "like", "ilike", "regex",
                     "null", "exists",
                     "contains", "any", "all"])  # fmt: skip
    match operator:
        case "in" | "not in":
            return (operator, path, [pick([*LITERALS, None]) for _ in range(pick([0, 1, 2, 3, 20]))])
        case "any" | "all":
            return (operator, path, [pick(LITERALS) for _ in range(pick([0, 1, 2, 6]))])
        case "between":
            group = pick([NUMBERS, TEXTS, DATETIMES, [True, False]])
            return (operator, path, pick(group), pick(group))
        case "like" | "ilike":
            return (operator, path, pick(PATTERNS))
        case "regex":
            return (operator, path, pick(REGEXES))
        case "null" | "exists":
            return (operator, path)
        case "==" | "!=":
            return (operator, path, pick([*LITERALS, None, "a", 1]))
        case _:
            return (operator, path, pick([*LITERALS, "a", 1]))


def as_expression(spec: Spec) -> Expression:
    """Return the filter as an F expression."""
    word, *parts = spec
    match word:
        case "and":
            return reduce(lambda left, right: left & right, map(as_expression, parts))
        case "or":
            return reduce(lambda left, right: left | right, map(as_expression, parts))
        case "not":
            return ~as_expression(parts[0])
    path, *operands = parts
    field: Field = F(*path) if len(path) > 1 else F('"' + path[0] + '"')
    method = {
        "==": field.__eq__, "!=": field.__ne__, "<": field.__lt__, "<=": field.__le__, ">": field.__gt__,
        ">=": field.__ge__, "in": field.isin, "not in": field.not_in, "between": field.between,
        "like": field.like, "ilike": field.ilike, "regex": field.regex, "null": field.is_null,
        "exists": field.exists, "contains": field.contains, "any": field.contains_any,
        "all": field.contains_all,
    }[word]  # fmt: skip
    return method(*operands)


def as_mapping(spec: Spec) -> dict[str, Any]:
    """Return the filter as a Mongo-style dict."""
    word, *parts = spec
    match word:
        case "and" | "or":
            return {f"${word}": [as_mapping(part) for part in parts]}
        case "not":
            return {"$not": as_mapping(parts[0])}
    path, *operands = parts
    name = ".".join(f'"{key}"' if "." in key else key for key in path)
    match word:
        case "==":
            return {name: operands[0]}
        case "null" | "exists":
            return {name: {f"${word}": True}}
        case "between":
            return {name: {"$between": operands}}
    operator = {
        "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte", "in": "$in", "not in": "$nin",
        "like": "$like", "ilike": "$ilike", "regex": "$regex", "contains": "$contains",
        "any": "$contains_any", "all": "$all",
    }[word]  # fmt: skip
    return {name: {operator: operands[0]}}


def as_sql(spec: Spec) -> str:
    """Return the filter as SQL text."""
    word, *parts = spec
    match word:
        case "and" | "or":
            return f" {word.upper()} ".join(f"({as_sql(part)})" for part in parts)
        case "not":
            return f"NOT ({as_sql(parts[0])})"
    path, *operands = parts
    name = ".".join('"' + key + '"' if key == "in" or "." in key else key for key in path)
    match word:
        case "null":
            return f"{name} IS NULL"
        case "exists":
            return f"exists({name})"
        case "in" | "not in":
            return f"{name} {word} ({', '.join(map(_sql, operands[0]))})"
        case "any" | "all":
            return f"{name} contains {word}({','.join(map(_sql, operands[0]))})"
        case "between":
            return f"{name} between {_sql(operands[0])} and {_sql(operands[1])}"
        case "regex":
            return f"{name} matches {_sql(operands[0])}"
        case _:
            return f"{name} {word} {_sql(operands[0])}"


def _sql(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).replace("None", "NULL")
    if isinstance(value, str):
        return "'" + "''".join(value.split("'")) + "'"
    return f"datetime '{value.isoformat()}'" if isinstance(value, datetime) else repr(value)
