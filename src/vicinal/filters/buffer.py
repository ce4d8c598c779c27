"""Growing arrays that old readers keep reading.

A `Grown` is an immutable view of the first `len` elements of a buffer. Appending writes behind
them, into spare room that no other view shows, so it costs O(appended) on average and never
changes what an existing view returns. Of two appends to one view the first gets the spare
room; the second copies.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grown", "narrowed"]

Array = NDArray[Any]


class _Shared:
    __slots__ = ("buffer", "lock", "used")

    def __init__(self, buffer: Array, used: int) -> None:
        self.buffer = buffer
        self.used = used
        self.lock = threading.Lock()


class Grown:
    """The first elements of a growing one-dimensional array; takes over the array it is given."""

    __slots__ = ("_shared", "values")

    def __init__(self, values: Array, shared: _Shared | None = None) -> None:
        self._shared = shared or _Shared(values, len(values))
        self.values: Array = values

    def __len__(self) -> int:
        return len(self.values)

    def appended(self, more: Array) -> Grown:
        """Return the array with `more` behind it, in a dtype that holds both."""
        shared, size = self._shared, len(self.values)
        end = size + len(more)
        dtype = np.promote_types(shared.buffer.dtype, more.dtype)
        with shared.lock:
            if shared.used == size and end <= len(shared.buffer) and dtype == shared.buffer.dtype:
                shared.buffer[size:end] = more
                shared.used = end
                return Grown(shared.buffer[:end], shared)
        buffer: Array = np.empty(end + end // 4 + 16, dtype)
        buffer[:size] = self.values
        buffer[size:end] = more
        return Grown(buffer[:end], _Shared(buffer, end))

    def replaced(self, positions: NDArray[np.int64], more: Array) -> Grown:
        """Return a copy with the elements at `positions` replaced."""
        values = self.values.astype(np.promote_types(self.values.dtype, more.dtype))
        values[positions] = more
        return Grown(values)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, without spare room."""
        return self.values.nbytes


def narrowed(values: Array) -> Array:
    """Return signed ints in the narrowest type that holds them all."""
    if len(values) == 0:
        return values.astype(np.int8)
    low, high = int(values.min()), int(values.max())
    # -1 - high needs as many bits as high, and makes NumPy choose a signed type.
    dtype = np.promote_types(np.min_scalar_type(min(low, -1)), np.min_scalar_type(min(-1 - high, -1)))
    return values.astype(dtype)
