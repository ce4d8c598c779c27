"""Python values to typed arrays, without a Python-level loop where the values are of one type.

Every array is aligned to the rows; rows of another type hold 0 in it. bools live in the tags.

Lists are held as the hybrid format of sparse matrices (Bell and Garland, Implementing sparse
matrix-vector multiplication on throughput-oriented processors, SC 2009): the first elements of each
list in `LAYERS` arrays of codes, which one comparison each searches, and the elements beyond as
pairs (row, code) in no particular order.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from vicinal.errors import InvalidMetadata, shorten
from vicinal.filters.buffer import Array, narrowed
from vicinal.filters.literal import microseconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.filters.dictionary import Dictionary

__all__ = ["LAYERS", "MISSING", "Encoded", "Missing", "Tag", "element_key", "encode", "encode_array"]


class Missing(enum.Enum):
    """The type of MISSING, the value of a field that a row does not have."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Literal[Missing.MISSING]] = Missing.MISSING


class Tag(enum.IntEnum):
    """What a row holds in one field; a bool is its tag, with TRUE one above FALSE."""

    MISSING = 0
    NULL = 1
    FALSE = 2
    TRUE = 3
    INT = 4
    FLOAT = 5
    DATETIME = 6
    STR = 7
    LIST = 8
    OBJECT = 9


LAYERS: Final = range(16, 24)
"""The keys of the arrays with the codes of the first, second, … elements of lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A run of rows as arrays by tag or layer; `uniform` is the tag of all rows if `tags` is None."""

    n: int
    uniform: Tag = Tag.MISSING
    tags: NDArray[np.uint8] | None = None
    arrays: Mapping[int, Array] = field(default_factory=dict)
    element_rows: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    element_codes: Array = field(default_factory=lambda: np.empty(0, np.int8))

    def taken(self, rows: NDArray[np.int64]) -> Encoded:
        """Return the rows at these positions (n,), which may repeat. Cost: O(n)."""
        tags = None if self.tags is None else self.tags.take(rows)
        arrays = {key: array.take(rows) for key, array in self.arrays.items()}
        taken = replace(self, n=len(rows), tags=tags, arrays=arrays)
        if not len(self.element_rows):
            return taken
        order = np.argsort(self.element_rows, kind="stable")
        lengths = np.bincount(self.element_rows, minlength=self.n)
        ends, wanted = np.cumsum(lengths), lengths[rows]
        within = np.arange(wanted.sum()) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        places = np.repeat((ends - lengths)[rows], wanted) + within
        element_rows = np.repeat(np.arange(len(rows), dtype=np.int32), wanted)
        return replace(taken, element_rows=element_rows, element_codes=self.element_codes[order][places])


_TAG_OF_TYPE: dict[type, Tag] = {
    Missing: Tag.MISSING,
    type(None): Tag.NULL,
    bool: Tag.FALSE,
    int: Tag.INT,
    float: Tag.FLOAT,
    datetime: Tag.DATETIME,
    str: Tag.STR,
    list: Tag.LIST,
    tuple: Tag.LIST,
    dict: Tag.OBJECT,
}
# Elements of these types are their own dictionary keys; int and float agree on == and hash.
_OWN_KEYS = {int, float, str}


def encode(values: Sequence[object], strings: Dictionary[str], elements: Dictionary[Hashable]) -> Encoded:
    """Return the values as arrays; new strings and list elements enter the dictionaries."""
    n = len(values)
    types = set(map(type, values))
    if not types <= _TAG_OF_TYPE.keys():
        values = [_plain(value) for value in values]
        types = set(map(type, values))
    tags: NDArray[np.uint8] | None = None
    uniform = Tag.MISSING
    if len(types) == 1 and bool not in types:
        uniform = _TAG_OF_TYPE[types.pop()]
        present = {uniform}
    elif n:
        tags = np.fromiter(map(_TAG_OF_TYPE.__getitem__, map(type, values)), np.uint8, count=n)
        present = {_TAG_OF_TYPE[each] for each in types}
    else:
        present = set()
    arrays: dict[int, Array] = {}
    rows, codes = np.empty(0, np.int32), np.empty(0, np.int8)
    for tag in sorted(present):
        chosen, positions = _of_tag(values, tags, tag)
        if tag == Tag.FALSE and tags is not None:
            tags[positions] += np.array(chosen, np.uint8)
        elif tag == Tag.LIST:
            layers, rows, codes = _encode_lists(chosen, positions, n, elements)
            arrays.update(layers)
        elif tag == Tag.STR:
            arrays[tag] = _spread(strings.encode(chosen), positions, n)
        elif tag in _NUMERIC:
            arrays[tag] = _spread(_NUMERIC[tag](chosen), positions, n)
    return Encoded(n=n, uniform=uniform, tags=tags, arrays=arrays, element_rows=rows, element_codes=codes)


def encode_array(array: NDArray[Any]) -> Encoded | None:
    """Return a NumPy array of bools, ints or floats as arrays; None for other types."""
    n = len(array)
    match array.dtype.kind:
        case "b":
            return Encoded(n=n, tags=array.astype(np.uint8) + np.uint8(Tag.FALSE))
        case "i" | "u":
            if n and array.dtype.kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
                raise InvalidMetadata(f"the int {int(array.max())} does not fit into 64 bits")
            ints = narrowed(array.astype(np.int64, copy=False))
            return Encoded(n=n, uniform=Tag.INT, arrays={Tag.INT: ints})
        case "f":
            return Encoded(n=n, uniform=Tag.FLOAT, arrays={Tag.FLOAT: _finite(array.astype(np.float64))})
        case _:
            return None


def element_key(value: object) -> Hashable:
    """Return what stands for a list element in the dictionary: equal keys are equal values.

    Null, lists and objects inside a list equal no literal and share one key.
    """
    value = value.item() if isinstance(value, np.generic) else value
    match value:
        case bool():
            return (value,)
        case int() | float() | str():
            return value
        case datetime():
            if value.utcoffset() is None:
                raise InvalidMetadata(f"naive datetime {value.isoformat()} in a list; add a time zone")
            return value.astimezone(UTC)
        case _:
            return ()


def _of_tag(
    values: Sequence[object], tags: NDArray[np.uint8] | None, tag: Tag
) -> tuple[Sequence[Any], NDArray[np.int64] | None]:
    """Return the values of one tag and their positions; None for all positions."""
    if tags is None:
        return values, None
    mask = tags == tag
    return list(itertools.compress(values, mask.tobytes())), np.flatnonzero(mask)


def _spread(array: Array, positions: NDArray[np.int64] | None, n: int) -> Array:
    if positions is None:
        return array
    full: Array = np.zeros(n, array.dtype)
    full[positions] = array
    return full


def _encode_lists(
    lists: Sequence[Sequence[object]],
    positions: NDArray[np.int64] | None,
    n: int,
    elements: Dictionary[Hashable],
) -> tuple[dict[int, Array], NDArray[np.int32], Array]:
    lengths = np.fromiter(map(len, lists), np.int64, count=len(lists))
    keys: list[Any] = list(itertools.chain.from_iterable(lists))
    if not set(map(type, keys)) <= _OWN_KEYS:
        keys = [element_key(key) for key in keys]
    codes = elements.encode(keys)
    starts = np.cumsum(lengths) - lengths
    layers = {}
    for at, key in enumerate(LAYERS[: lengths.max(initial=0)]):
        having = np.flatnonzero(lengths > at)
        layer = np.zeros(n, codes.dtype)
        layer[having if positions is None else positions[having]] = codes[starts[having] + at]
        layers[key] = layer
    beyond = np.flatnonzero(np.arange(len(codes)) - np.repeat(starts, lengths) >= len(LAYERS))
    rows = np.arange(len(lists)) if positions is None else positions
    return layers, np.repeat(rows.astype(np.int32), lengths)[beyond], codes[beyond]


def _encode_ints(values: Sequence[int]) -> Array:
    try:
        return narrowed(np.array(values, np.int64))
    except OverflowError:
        worst = max(values, key=abs)
        raise InvalidMetadata(f"the int {shorten(worst)} does not fit into 64 bits") from None


def _encode_floats(values: Sequence[float]) -> Array:
    return _finite(np.array(values, np.float64))


def _encode_datetimes(values: Sequence[datetime]) -> Array:
    try:
        return np.fromiter(map(microseconds, values), np.int64, count=len(values))
    except TypeError:
        naive = next(value for value in values if value.utcoffset() is None)
        raise InvalidMetadata(f"naive datetime {naive.isoformat()}; add a time zone") from None


_NUMERIC: dict[Tag, Callable[[Sequence[Any]], Array]] = {
    Tag.INT: _encode_ints,
    Tag.FLOAT: _encode_floats,
    Tag.DATETIME: _encode_datetimes,
}


def _finite(array: Array) -> Array:
    if not np.isfinite(array).all():
        raise InvalidMetadata("NaN or infinity in a column; store null instead")
    return array


def _plain(value: object) -> object:
    """Return a NumPy scalar or a subclass instance as the built-in type it stands for."""
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    match value:
        case Missing() | None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case str():
            return str.__str__(value)
        case datetime():
            return datetime.combine(datetime.date(value), value.timetz())
        case list() | tuple():
            return list(value)
        case Mapping():
            return {}
        case _:
            raise InvalidMetadata(f"{shorten(value)} of type {type(value).__name__} is not a metadata value")
