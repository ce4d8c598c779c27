"""`Column`: one metadata field over all rows, typed for fast predicates.

A column of one type is one array; a column with nulls, gaps or several types adds a byte per
row that tells them apart. Ints take the narrowest width, strings and the elements of lists are
dictionary codes. A column never changes: `extended` and `patched` return new columns
that share memory with the old one, and any thread may go on reading the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidMetadata
from vicinal.filters import order
from vicinal.filters.buffer import Array, Grown
from vicinal.filters.dictionary import Dictionary
from vicinal.filters.encode import LAYERS, MISSING, Encoded, Tag, encode, encode_array

if TYPE_CHECKING:
    from vicinal.filters.path import Path

__all__ = ["MISSING", "Column", "value_at"]

Mask = NDArray[np.bool_]
_Join = Callable[[Grown, Array], Grown]

# So many values beyond twice those in use may lie idle in a dictionary.
_SPARE_VALUES = 1024


class Column:
    """An immutable typed column; build it with `from_values` or `from_array`.

    Rows are numbered from 0; at most 2**31 of them.

    >>> Column.from_values([2024, None, MISSING, "new"]).kinds
    {'missing': 1, 'null': 1, 'int': 1, 'str': 1}
    """

    __slots__ = (
        *("_arrays", "_codes", "_counts", "_keys", "_n", "_rows", "_tags", "_uniform"),
        *("elements", "strings"),
    )

    def __init__(self, encoded: Encoded, strings: Dictionary[str], elements: Dictionary[Hashable]) -> None:
        self._n = encoded.n
        self._uniform = encoded.uniform
        self._tags = None if encoded.tags is None else Grown(encoded.tags)
        self._arrays = {key: Grown(array) for key, array in encoded.arrays.items()}
        self._rows = Grown(encoded.element_rows)
        self._codes = Grown(encoded.element_codes)
        self._counts: NDArray[np.int64] | None = None
        self._keys: NDArray[np.int64] | None = None
        self.strings = strings
        self.elements = elements

    @classmethod
    def from_values(cls, values: Sequence[object]) -> Column:
        """Return the column of Python values, with MISSING where a row has no such field.

        Raises InvalidMetadata for values outside the value model. About 0.05 µs per int and
        0.1 µs per str, up to 0.5 µs per datetime.
        """
        strings: Dictionary[str] = Dictionary()
        elements: Dictionary[Hashable] = Dictionary()
        return cls(encode(values, strings, elements), strings, elements)

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> Column:
        """Return the column of a one-dimensional array of bools, ints, floats or strings."""
        if array.ndim != 1:
            raise InvalidMetadata(f"a column needs an array of one dimension, got {array.ndim}")
        if array.dtype.kind in "mMSV":
            raise InvalidMetadata(f"an array of {array.dtype} is not metadata; pass aware datetimes or str")
        encoded = encode_array(array)
        if encoded is None:
            return cls.from_values(array.tolist())
        return cls(encoded, Dictionary(), Dictionary())

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"Column({self._n} rows, {self.kinds})"

    # Growth

    def extended(self, values: Sequence[object]) -> Column:
        """Return a column with the values as further rows; O(len(values)) on average."""
        return self._extended(encode(values, self.strings, self.elements))

    def extended_by(self, values: Sequence[object], rows: NDArray[np.int64]) -> Column:
        """Return a column with the values at positions `rows` (n,), which may repeat, as further rows.

        Where few values repeat often this costs a fraction of `extended`.
        """
        return self._extended(encode(values, self.strings, self.elements).taken(rows))

    def _extended(self, more: Encoded) -> Column:
        if not more.n:
            return self
        if not self._n:
            return Column(more, self.strings, self.elements)
        rows, codes = self._rows, self._codes
        if len(more.element_rows):
            rows = rows.appended(more.element_rows + np.int32(self._n))
            codes = codes.appended(more.element_codes)
        tags, arrays = self._joined(more, Grown.appended)
        return self._with(_n=self._n + more.n, _tags=tags, _arrays=arrays, _rows=rows, _codes=codes)

    def patched(self, positions: NDArray[np.int64], values: Sequence[object]) -> Column:
        """Return a copy with the values at the (distinct) positions replaced; O(rows)."""
        positions = np.asarray(positions, np.int64)
        if len(positions) != len(values) or len(np.unique(positions)) != len(positions):
            raise ValueError("patched needs distinct positions and one value for each")
        if len(positions) == 0:
            return self
        if positions.min() < 0 or positions.max() >= self._n:
            raise IndexError(f"patched positions must lie in 0 … {self._n - 1}")
        more = encode(values, self.strings, self.elements)
        tags, arrays = self._joined(more, lambda grown, new: grown.replaced(positions, new))
        strings, elements = self.strings, self.elements
        rows, codes = self._replaced_elements(positions, more)
        # Updates leave values behind that no row holds; a dictionary mostly of those is rebuilt.
        if Tag.STR in arrays and len(strings) > 2 * self._n + _SPARE_VALUES:
            strings, (string_codes,) = strings.merged([arrays[Tag.STR].values])
            arrays[Tag.STR] = Grown(string_codes)
        layers = [key for key in LAYERS if key in arrays]
        if len(elements) > 2 * (self._n * len(layers) + len(codes)) + _SPARE_VALUES:
            elements, merged = elements.merged([codes.values, *(arrays[key].values for key in layers)])
            codes, *changed = map(Grown, merged)
            arrays.update(zip(layers, changed, strict=True))
        return self._with(_tags=tags, _arrays=arrays, _rows=rows, _codes=codes, strings=strings, elements=elements)

    def _joined(self, more: Encoded, join: _Join) -> tuple[Grown | None, dict[int, Grown]]:
        """Join tags and arrays with those of more rows, filling up what only one side has."""
        tags = self._tags
        if tags is not None or more.tags is not None or self._uniform != more.uniform:
            tags = join(Grown(self.tags) if tags is None else tags, _tags(more))
        arrays = {}
        for key in self._arrays.keys() | more.arrays.keys():
            old, new = self._arrays.get(key), more.arrays.get(key)
            base = Grown(np.zeros(self._n, np.int8)) if old is None else old
            arrays[key] = join(base, np.zeros(more.n, base.values.dtype) if new is None else new)
        return tags, arrays

    def _replaced_elements(self, positions: NDArray[np.int64], more: Encoded) -> tuple[Grown, Grown]:
        rows, codes = self._rows, self._codes
        kept = np.ones(self._n, np.bool_)
        kept[positions] = False
        stays = kept[rows.values]
        if not stays.all():
            rows, codes = Grown(rows.values[stays]), Grown(codes.values[stays])
        if len(more.element_rows):
            rows = rows.appended(positions[more.element_rows].astype(np.int32))
            codes = codes.appended(more.element_codes)
        return rows, codes

    def _with(self, **changes: object) -> Column:
        column = Column.__new__(Column)
        for name in Column.__slots__:
            setattr(column, name, changes.get(name, getattr(self, name)))
        column._counts = column._keys = None  # noqa: SLF001 - derived from what has changed
        return column

    # Contents

    @property
    def tags(self) -> NDArray[np.uint8]:
        """The tag of every row."""
        return np.full(self._n, self._uniform, np.uint8) if self._tags is None else self._tags.values

    def has(self, *tags: Tag) -> Mask:
        """Return a fresh mask of the rows that hold one of the tags."""
        if self._tags is None:
            return np.full(self._n, self._uniform in tags)
        mask = np.zeros(self._n, np.bool_)
        for tag in tags:
            mask |= self._tags.values == tag
        return mask

    def array(self, tag: Tag) -> Array | None:
        """Return the values of one tag over all rows, 0 in rows of another; None if there are none."""
        grown = self._arrays.get(tag)
        return None if grown is None else grown.values

    def restrict(self, mask: Mask, tag: Tag) -> Mask:
        """Clear the mask, in place, in rows that do not hold the tag."""
        if self._tags is not None:
            mask &= self._tags.values == tag
        return mask

    @property
    def layers(self) -> list[Array]:
        """The codes, in `elements`, of the first, second, … element of every row's list; 0 for none."""
        return [self._arrays[key].values for key in LAYERS if key in self._arrays]

    @property
    def element_rows(self) -> NDArray[np.int32]:
        """The row of every list element beyond the layers."""
        return self._rows.values

    @property
    def element_codes(self) -> Array:
        """The code, in `elements`, of every list element beyond the layers."""
        return self._codes.values

    # Facts

    def count(self, tag: Tag) -> int:
        """Return how many rows hold the tag."""
        if self._counts is None:
            counts = np.zeros(len(Tag), np.int64)
            if self._tags is None:
                counts[self._uniform] = self._n
            else:
                counts[:] = [np.count_nonzero(self._tags.values == each) for each in Tag]
            self._counts = counts
        return int(self._counts[tag])

    @property
    def kinds(self) -> dict[str, int]:
        """The number of rows by type of value, of the types that occur."""
        found = {
            "missing": self.count(Tag.MISSING),
            "null": self.count(Tag.NULL),
            "bool": self.count(Tag.FALSE) + self.count(Tag.TRUE),
            **{tag.name.lower(): self.count(tag) for tag in Tag if tag >= Tag.INT},
        }
        return {kind: count for kind, count in found.items() if count}

    @property
    def present(self) -> int:
        """The number of rows that have the field, null included."""
        return self._n - self.count(Tag.MISSING)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays and dictionaries; O(distinct strings)."""
        grown = [*self._arrays.values(), self._rows, self._codes, *([self._tags] if self._tags else [])]
        return sum(each.nbytes for each in grown) + self.strings.nbytes + self.elements.nbytes

    # Order

    def sort_keys(self) -> NDArray[np.int64]:
        """Return a rank per row: smaller comes first, equal values tie, -1 is missing or null.

        bool < number < datetime < str < lists and objects (which all tie). Computed once.
        """
        if self._keys is None:
            self._keys = order.ranks(self)
        return self._keys.copy()

    def order(self, *, descending: bool = False) -> NDArray[np.int64]:
        """Return the row positions sorted by value; missing and null last in both directions.

        Rows with equal values keep their order by position.
        """
        return order.positions(self.sort_keys(), descending=descending)


def value_at(metadata: Mapping[str, object], path: Path) -> object:
    """Return the value under the path in a row's metadata, or MISSING.

    >>> value_at({"a": {"b": 1}}, ("a", "b")), value_at({"a.b": 1}, ("a", "b"))
    (1, MISSING)
    """
    value: object = metadata
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def _tags(encoded: Encoded) -> NDArray[np.uint8]:
    return np.full(encoded.n, encoded.uniform, np.uint8) if encoded.tags is None else encoded.tags
