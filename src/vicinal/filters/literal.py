"""The scalar values a filter may hold, and their spellings in SQL text and JSON.

A literal is a bool, int, finite float, str or aware datetime (kept in UTC). Null is not a
literal: `== null` is the node `IsNull`. Everything else is refused by name, here and only here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import numpy as np

from vicinal.errors import InvalidFilter, shorten

__all__ = ["Kind", "Scalar", "kind_of", "literal", "literal_json", "literal_sql", "literals"]

Scalar = bool | int | float | str | datetime
Kind = Literal["bool", "number", "datetime", "str"]

MAX_VALUES = 100_000
# Python prints and reads ints of at most 4300 digits; 4096 bits stay well below.
_MAX_INT_BITS = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def kind_of(value: Scalar) -> Kind:
    """Return the type under which `value` compares; int and float are one type."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case datetime():
            return "datetime"
        case str():
            return "str"


def literal(value: object) -> Scalar:
    """Return `value` as an exact Python scalar, or raise InvalidFilter naming its type.

    NumPy scalars and subclasses (enums) are converted; datetimes are moved to UTC.

    >>> literal(np.int32(7))
    7
    """
    if isinstance(value, np.generic):
        value = _from_numpy(value)
    match value:
        case bool():
            return value
        case int():
            return _checked_int(int(value))
        case float():
            if not math.isfinite(value):
                raise InvalidFilter(f"a filter value must be finite, got {value!r}")
            return float(value)
        case str():
            return str.__str__(value)
        case datetime():
            return _checked_datetime(value)
        case _:
            raise InvalidFilter(_refusal(value))


def literals(values: object, operator: str) -> tuple[Scalar, ...]:
    """Return the values given to a list operator: distinct, in canonical order.

    The order is by type, then by value, so that equal sets of values are equal cache keys.
    """
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        text = shorten(values)
        raise InvalidFilter(f"{operator} needs a list of values, got {text}; write [{text}]")
    distinct: dict[tuple[Kind, Scalar], Scalar] = {}
    for count, value in enumerate(values):
        scalar = literal(value)
        distinct.setdefault((kind_of(scalar), scalar), scalar)
        if count >= MAX_VALUES:
            raise InvalidFilter(f"{operator} takes at most {MAX_VALUES} values; split the request")
    return tuple(distinct[key] for key in sorted(distinct))


def microseconds(value: datetime) -> int:
    """Return the instant as microseconds since 1970 in UTC."""
    return (value - _EPOCH) // _MICROSECOND


def literal_sql(value: Scalar) -> str:
    """Return the literal as the SQL filter text spells it."""
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return f"timestamp '{_iso(value)}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return repr(value)


def literal_json(value: Scalar) -> object:
    """Return the literal as JSON has it; a datetime becomes `{"$datetime": "…"}`."""
    return {"$datetime": _iso(value)} if isinstance(value, datetime) else value


def parse_datetime(text: str) -> datetime:
    """Return the aware datetime that ISO 8601 text spells, in UTC.

    >>> parse_datetime("2024-05-01T02:00:00+02:00").isoformat()
    '2024-05-01T00:00:00+00:00'
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFilter(
            f"{shorten(text)} is not an ISO 8601 datetime; write it like '2024-05-01T00:00:00Z'"
        ) from None
    return _checked_datetime(value)


def _iso(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _from_numpy(value: np.generic) -> object:
    # datetime64 has no zone, and its .item() would silently become a naive datetime or an int.
    if isinstance(value, np.datetime64):
        raise InvalidFilter(f"numpy.datetime64 {value} has no time zone; pass an aware datetime")
    item: object = value.item()
    return item


def _checked_int(value: int) -> int:
    if value.bit_length() > _MAX_INT_BITS:
        raise InvalidFilter(f"an int of {value.bit_length()} bits is too large for a filter")
    return value


def _checked_datetime(value: datetime) -> datetime:
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidFilter(
            f"naive datetime {shorten(value.isoformat())} in a filter; "
            "add a time zone, for example value.replace(tzinfo=datetime.timezone.utc)"
        )
    if type(value) is not datetime:
        # Subclasses (pandas.Timestamp) carry nanoseconds and their own arithmetic.
        value = datetime.combine(date(value.year, value.month, value.day), value.timetz())
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidFilter(f"datetime {value.isoformat()} is outside the years 1 to 9999 in UTC") from None


def _refusal(value: object) -> str:
    name = type(value).__name__
    if value is None:
        return "null cannot be compared here; use is_null() or `is null`"
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return (
            f"a list cannot be compared: {shorten(value)}; use contains_all or contains_any "
            "for list fields, isin ($in) for several alternatives"
        )
    if isinstance(value, Mapping):
        return f"an object cannot be compared: {shorten(value)}; filter on its keys with a dotted path"
    if isinstance(value, date):
        return f"a date is not a filter value: {value.isoformat()}; use an aware datetime"
    return f"a filter value cannot be of type {name}: {shorten(value)}; use bool, int, float, str or datetime"
