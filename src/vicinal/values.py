"""The value model: what ids, metadata and times may be, and how they are stored.

=================  =====================================================================
id                 `str` (1 to 64 KB of UTF-8) or int64; one type per collection
metadata           an object of null, bool, int64, finite float, str, aware datetime, lists and
                   objects of these; keys are text and do not begin with "$"
datetime           kept as UTC microseconds (`{"$date": n}` in JSON), returned as aware UTC
refused by name    bytes, Decimal, NaN and infinities, naive datetimes, sets, other objects
=================  =====================================================================

NumPy scalars and arrays are taken as the Python values they stand for, tuples as lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final, cast

import numpy as np

from vicinal.errors import InvalidId, InvalidInput, InvalidMetadata, shorten
from vicinal.settings import MAX_DOCUMENT_BYTES, MAX_ID_BYTES, MAX_METADATA_BYTES, MAX_METADATA_DEPTH

Id = int | str
type_names: Final = {int: "int", str: "str"}
INT64: Final = range(-(1 << 63), 1 << 63)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENTS: Final = range(
    (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1),
    (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) + 1,
)
_DATE_KEY: Final = "$date"
_PLAIN: Final = frozenset({str, bool, type(None)})
_FLAT: Final = _PLAIN | {int, float}
_ROWS_AT_ONCE: Final = 1000
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False).encode


def to_microseconds(moment: datetime, where: str) -> int:
    """Return an aware datetime as UTC microseconds since 1970; `where` names it in errors."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        message = (
            f"{where}: {moment!s} has no time zone; make it aware, "
            "for example with .replace(tzinfo=datetime.timezone.utc)"
        )
        raise InvalidMetadata(message)
    found = int((moment - _EPOCH) // timedelta(microseconds=1))
    if not _MOMENTS.start <= found < _MOMENTS.stop:
        message = f"{where}: {moment!s} lies outside the years 1 to 9999 in UTC"
        raise InvalidMetadata(message)
    return found


def from_microseconds(value: int) -> datetime:
    """Return UTC microseconds as an aware datetime."""
    return _EPOCH + timedelta(microseconds=value)


def check_text(text: object, where: str, limit: int, kind: type[InvalidInput] = InvalidInput) -> str:
    """Return `text` if it is storable UTF-8 of at most `limit` bytes."""
    if not isinstance(text, str):
        message = f"{where} is text, not {type(text).__name__}: {shorten(text)}"
        raise kind(message)
    if text.isascii():
        size = len(text)
    else:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            message = f"{where} holds a lone surrogate at character {error.start}, which is not text"
            raise kind(message) from None
    if size > limit:
        message = f"{where} has {size:,} bytes; the limit is {limit:,}"
        raise kind(message)
    return text


def check_ids(ids: Sequence[object] | np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> list[Id]:
    """Return ids as Python values of one type, each unique. Raises InvalidId with the position."""
    if isinstance(ids, np.ndarray):
        ids = ids.tolist()
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Sequence):
        if hasattr(ids, "tolist"):
            ids = ids.tolist()
        else:
            message = f"ids is a list of ids, not {shorten(ids)}"
            raise InvalidId(message)
    found = list(ids)
    kinds = set(map(type, found))
    if kinds == {str}:
        texts = cast("list[str]", found)
        if not (all(texts) and len(max(texts, key=len)) <= MAX_ID_BYTES and all(map(str.isascii, texts))):
            for position, identity in enumerate(texts):
                _check_str_id(identity, position)
    elif kinds == {int}:
        if found and not (min(cast("list[int]", found)) in INT64 and max(cast("list[int]", found)) in INT64):
            bad = next(position for position, value in enumerate(found) if value not in INT64)
            message = f"ids[{bad}]: {found[bad]} does not fit into 64 bits; use a str id"
            raise InvalidId(message)
    else:
        found = [check_id(identity, f"ids[{position}]") for position, identity in enumerate(found)]
        if len(set(map(type, found))) > 1:
            message = "ids mix int and str; a collection has one type of id"
            raise InvalidId(message)
    if len(set(found)) != len(found):
        _refuse_repeated(cast("list[Id]", found))
    return cast("list[Id]", found)


def _refuse_repeated(ids: list[Id]) -> None:
    seen: set[Id] = set()
    for position, identity in enumerate(ids):
        if identity in seen:
            message = f"ids[{position}]: {shorten(identity)} stands twice in one call"
            raise InvalidId(message)
        seen.add(identity)


def _check_str_id(identity: str, position: int) -> None:
    if not identity:
        message = f"ids[{position}]: an id cannot be empty"
        raise InvalidId(message)
    check_text(identity, f"ids[{position}]", MAX_ID_BYTES, InvalidId)


def check_distinct_ids(ids: object) -> list[Id]:
    """Return ids, one or several, without repetitions. Raises InvalidId."""
    if isinstance(ids, (str, int, np.generic)):
        return [check_id(ids)]
    if isinstance(ids, np.ndarray):
        ids = ids.tolist()
    if isinstance(ids, (bytes, bytearray, Mapping)) or not isinstance(ids, Iterable):
        message = f"ids is one id, or a list of ids, not {shorten(ids)}"
        raise InvalidId(message)
    return check_ids(list(dict.fromkeys(check_id(identity, f"ids[{at}]") for at, identity in enumerate(ids))))


def check_id(identity: object, where: str = "id") -> Id:
    """Return one id as a Python value. Raises InvalidId."""
    if isinstance(identity, np.generic):
        identity = identity.item()
    if isinstance(identity, bool) or not isinstance(identity, (int, str)):
        message = f"{where}: an id is a str or an int, not {type(identity).__name__}: {shorten(identity)}"
        raise InvalidId(message)
    if isinstance(identity, int):
        if int(identity) not in INT64:  # of a subclass, `in` would count through the range
            message = f"{where}: {identity} does not fit into 64 bits; use a str id"
            raise InvalidId(message)
        return int(identity)
    if not identity:
        message = f"{where}: an id cannot be empty"
        raise InvalidId(message)
    return check_text(str(identity), where, MAX_ID_BYTES, InvalidId)


def check_document(document: object, where: str) -> str | None:
    """Return a document, or None."""
    if document is None:
        return None
    return check_text(document, where, MAX_DOCUMENT_BYTES)


def encode_rows(entries: Sequence[object], where: str) -> list[str | None]:
    """Return the metadata of rows as JSON texts. Raises InvalidMetadata naming row and path.

    Flat rows, the usual ones, take one call of the encoder for many: a fifth of the time.
    """
    found: list[str | None] = []
    for start in range(0, len(entries), _ROWS_AT_ONCE):
        part = entries[start : start + _ROWS_AT_ONCE]
        found += _encode_flat(part) or [
            encode_metadata(entry, f"{where}[{at}]") for at, entry in enumerate(part, start)
        ]
    return found


def _encode_flat(entries: Sequence[object]) -> list[str | None] | None:
    """Return JSON texts of rows that hold plain values alone; None where one may need more care."""
    if set(map(type, entries)) != {dict} or not all(entries):
        return None
    rows = cast("Sequence[dict[object, object]]", entries)
    values = list(chain.from_iterable(map(dict.values, rows)))
    kinds = set(map(type, values))
    if not (kinds <= _FLAT and all(type(key) is str and key and key[0] != "$" for key in set().union(*rows))):
        return None
    if int in kinds:
        numbers = [value for value in values if type(value) is int]
        if min(numbers) not in INT64 or max(numbers) not in INT64:
            return None
    try:
        text = _encode(rows)
        fits = len(text.encode()) <= MAX_METADATA_BYTES
    except ValueError:  # not a number, infinity, half a character: the careful way names it
        return None
    # A row ends in "},{" at least; as many pieces as rows mean that no string holds these characters.
    pieces = text[2:-2].split("},{")
    return [f"{{{piece}}}" for piece in pieces] if fits and len(pieces) == len(rows) else None


def encode_metadata(metadata: object, where: str) -> str | None:
    """Return metadata as JSON text, None for none. Raises InvalidMetadata naming the path."""
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        message = f"{where} is an object such as {{'year': 2024}}, not {shorten(metadata)}"
        raise InvalidMetadata(message)
    if not metadata:
        return None
    for key, value in metadata.items():
        kind = type(value)
        if (
            type(key) is not str
            or not key
            or key[0] == "$"
            or not (kind in _PLAIN or (kind is int and -(1 << 63) <= value < 1 << 63))
        ):
            metadata = _normalise(metadata, where, 0)
            break
    text = _encode(metadata)
    if not text.isascii() or len(text) > MAX_METADATA_BYTES:
        check_text(text, where, MAX_METADATA_BYTES, InvalidMetadata)
    return text


def _normalise(value: object, where: str, depth: int) -> object:
    """Return a metadata value as JSON can hold it."""
    if depth > MAX_METADATA_DEPTH:
        message = f"{where} is nested more than {MAX_METADATA_DEPTH} deep"
        raise InvalidMetadata(message)
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind not in "mMV":  # datetime64 has no zone
        value = value.tolist()
    match value:
        case None | bool() | str():
            return value
        case int():
            if int(value) not in INT64:  # of a subclass, `in` would count through the range
                message = f"{where}: {shorten(value)} does not fit into 64 bits"
                raise InvalidMetadata(message)
            return int(value)
        case float():
            if not math.isfinite(value):
                message = f"{where}: {value} is not a finite number; use None for a missing value"
                raise InvalidMetadata(message)
            return float(value)
        case datetime():
            return {_DATE_KEY: to_microseconds(value, where)}
        case Mapping():
            return {
                _check_key(key, where): _normalise(item, f"{where}.{key}", depth + 1) for key, item in value.items()
            }
        case list() | tuple():
            return [_normalise(item, f"{where}[{at}]", depth + 1) for at, item in enumerate(value)]
    message = (
        f"{where}: {type(value).__name__} {shorten(value)} cannot be metadata; "
        "use null, bool, int, float, str, an aware datetime, a list or an object"
    )
    raise InvalidMetadata(message)


def _check_key(key: object, where: str) -> str:
    if not isinstance(key, str) or not key:
        message = f"{where}: a key is non-empty text, not {shorten(key)}"
        raise InvalidMetadata(message)
    if key.startswith("$"):
        message = f"{where}: the key {shorten(key)} begins with '$', which filters use for their operators"
        raise InvalidMetadata(message)
    return str(key)


def _hook(found: dict[str, object]) -> object:
    if len(found) == 1 and type(found.get(_DATE_KEY)) is int:
        return from_microseconds(cast("int", found[_DATE_KEY]))
    return found


def decode_json(text: str) -> object:
    """Return stored JSON as Python values, datetimes included."""
    return json.loads(text, object_hook=_hook) if '"$date"' in text else json.loads(text)


def decode_metadata(text: str | None) -> dict[str, object]:
    """Return stored metadata; an empty object where there is none."""
    return cast("dict[str, object]", decode_json(text)) if text else {}
