"""Dictionary codes: each distinct value once, rows hold small ints.

Codes count from 1; code 0 stands for "no such value in this row". A dictionary only grows, and
is shared by all versions of a column: a code never changes its meaning.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from vicinal.filters.buffer import Array, narrowed

__all__ = ["Dictionary"]

K = TypeVar("K", bound=Hashable)


class Dictionary(Generic[K]):
    """A growing set of distinct values with a code for each; safe to share between threads."""

    __slots__ = ("_codes", "_lock", "_values")

    def __init__(self) -> None:
        self._codes: dict[K, int] = {}
        self._values: list[K] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def encode(self, values: Sequence[K]) -> Array:
        """Return the codes of the values, adding those that are new."""
        with self._lock:
            known = self._codes
            if not known:
                # One pass in C numbers the values as they come up.
                numbered: defaultdict[K, int] = defaultdict(itertools.count(1).__next__)
                found = np.fromiter(map(numbered.__getitem__, values), np.int32, count=len(values))
                numbered.default_factory = None
                self._codes, self._values = numbered, list(numbered)
                return narrowed(found)
            new = [value for value in dict.fromkeys(values) if value not in known]
            first = len(self._values) + 1
            known.update(zip(new, range(first, first + len(new)), strict=True))
            self._values.extend(new)
        return narrowed(np.fromiter(map(known.__getitem__, values), np.int32, count=len(values)))

    def codes(self, values: Sequence[K]) -> Array:
        """Return the codes of those of the values that have one, ascending."""
        found = {self._codes[value] for value in values if value in self._codes}
        return np.array(sorted(found), np.int64)

    def values(self) -> list[K]:
        """Return the values by code: that of code 1 first."""
        return self._values.copy()

    def merged(self, arrays: Sequence[Array]) -> tuple[Dictionary[K], list[Array]]:
        """Return a dictionary of only the values in use, and the arrays of codes rewritten for it."""
        used = np.unique(np.concatenate([np.unique(codes) for codes in arrays]))
        used = used[used > 0]
        compact: Dictionary[K] = Dictionary()
        table = np.zeros(len(self._values) + 1, np.int32)
        table[used] = compact.encode([self._values[code - 1] for code in used.tolist()])
        return compact, [narrowed(table[codes]) for codes in arrays]

    @property
    def nbytes(self) -> int:
        """Bytes of the values and the hash table; walks all values."""
        own = sys.getsizeof(self._codes) + sys.getsizeof(self._values)
        return own + sum(map(sys.getsizeof, self._values))
