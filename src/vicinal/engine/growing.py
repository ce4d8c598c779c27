"""Arrays that grow while others read them.

A `Growing` is an immutable view of the first rows of a shared buffer. Appending returns a longer
view: in place where this view is the newest one of its buffer, else into a copy. Readers of older
views never see the new rows, and a view left behind by a rolled back transaction does no harm.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class _Buffer(Generic[T]):
    __slots__ = ("array", "filled", "lock")

    def __init__(self, array: NDArray[T], filled: int) -> None:
        self.array = array
        self.filled = filled
        self.lock = threading.Lock()

    def claim(self, start: int, end: int) -> bool:
        """Take rows [start, end) for one view; False where another has them, or they do not exist."""
        with self.lock:
            if self.filled != start or end > len(self.array):
                return False
            self.filled = end
            return True


@dataclass(frozen=True, slots=True)
class Growing(Generic[T]):
    """The first `length` rows of a buffer that may hold more."""

    _buffer: _Buffer[T]
    length: int

    @classmethod
    def of(cls, array: NDArray[T]) -> Growing[T]:
        """Take over `array`, whose rows are all in use."""
        return cls(_Buffer(array, len(array)), len(array))

    @classmethod
    def within(cls, array: NDArray[T], length: int) -> Growing[T]:
        """Take over `array`, whose first `length` rows are in use; others may follow in place."""
        return cls(_Buffer(array, length), length)

    @property
    def view(self) -> NDArray[T]:
        """The rows, as an array that must not be written to."""
        return self._buffer.array[: self.length]

    def agrees(self, other: Growing[T], n: int) -> bool:
        """Return whether the first `n` rows of both exist and are equal. Cost: nothing for views of one buffer."""
        if n > self.length or n > other.length:
            return False
        return self._buffer is other._buffer or np.array_equal(self.view[:n], other.view[:n])

    def appended(self, rows: NDArray[T]) -> Growing[T]:
        """Return a view with `rows` behind. Amortised cost: one copy of `rows`."""
        end = self.length + len(rows)
        buffer = self._buffer
        if not buffer.claim(self.length, end):
            capacity = max(end, min(2 * self.length, self.length + (1 << 20)), 16)
            array = np.empty((capacity, *rows.shape[1:]), rows.dtype)
            array[: self.length] = self.view
            buffer = _Buffer(array, end)
        buffer.array[self.length : end] = rows
        return Growing(buffer, end)


def renewed(
    flags: Growing[np.bool_], now: Mapping[tuple[int, int], NDArray[np.bool_]], more: Iterable[NDArray[np.bool_]]
) -> tuple[Growing[np.bool_], int]:
    """Return flags with those of ranges [start, end) as they are `now`, and `more` behind; and how many more are true.

    Cost: a copy of all where any of them changed, else that of what is given.
    """
    before, gained = flags.view, 0
    changed = {part: new for part, new in now.items() if not np.array_equal(new, before[slice(*part)])}
    if changed:
        array = before.copy()
        for (start, end), new in changed.items():
            gained += int(np.count_nonzero(new)) - int(np.count_nonzero(before[start:end]))
            array[start:end] = new
        flags = Growing.of(array)
    for new in more:
        gained += int(np.count_nonzero(new))
        flags = flags.appended(new)
    return flags, gained
