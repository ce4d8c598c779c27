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
_KEPT_BYTES = 24 << 20
_local = threading.local()


def _keep_freed_memory() -> None:
    """Have malloc keep what smaller arrays leave, for the next ones.

    glibc returns freed memory to the system beyond a limit, which it learns from the largest array freed so
    far (`M_MMAP_THRESHOLD` in mallopt(3)); until it has seen a large one, filters spend most of their time on
    fresh pages. Here it sees one, which nobody writes to: this takes no memory. Elsewhere it changes nothing.
    """
    np.empty(_KEPT_BYTES, np.uint8)


_keep_freed_memory()


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
