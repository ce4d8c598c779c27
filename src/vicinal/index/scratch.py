"""Working memory that each thread keeps, because fresh pages cost more than the work in them."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["scratch"]

_LARGEST_BYTES = 8 << 20
_local = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array; the next call in this thread with `name` reuses its memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > _LARGEST_BYTES:
        return np.empty(shape, dtype)
    buffers: dict[str, NDArray[np.uint8]] = _local.__dict__
    buffer = buffers.get(name)
    if buffer is None or buffer.size < size:
        buffer = buffers[name] = np.empty(size, np.uint8)
    return buffer[:size].view(dtype).reshape(shape)
