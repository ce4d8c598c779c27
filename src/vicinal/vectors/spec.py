"""What a vector field holds: dimension, stored type and metric."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast, get_args

import numpy as np

from vicinal.errors import InvalidInput, InvalidVector, shorten

__all__ = ["MAX_DIM", "DType", "Metric", "VectorSpec", "spec_for"]

DType = Literal["f32", "f16", "i8", "bit"]
Metric = Literal["cosine", "l2", "dot", "l1", "hamming"]

MAX_DIM = 65_536

_STORAGE: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "i8": np.dtype(np.int8),
    "bit": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSpec:
    """One vector field: `dim` numbers of type `dtype`, compared by `metric`.

    Numbers (f32, f16, i8) go with cosine, l2, dot and l1; bits go with hamming. The default metric
    is cosine, or hamming for bits. Bits are packed eight to a byte, the first dimension in the
    highest bit (NumPy's `packbits` default), so `dim` is a multiple of 8.

    >>> VectorSpec(dim=256).metric
    'cosine'
    >>> VectorSpec(dim=256, dtype="bit").row_bytes
    32
    """

    dim: int
    dtype: DType = "f32"
    metric: Metric = None  # type: ignore[assignment]  # filled in below: it depends on dtype

    def __post_init__(self) -> None:
        if self.dtype not in _STORAGE:
            raise InvalidInput(f"vector type {shorten(self.dtype)} is not one of {', '.join(_STORAGE)}")
        if self.metric is None:
            object.__setattr__(self, "metric", "hamming" if self.dtype == "bit" else "cosine")
        if self.metric not in get_args(Metric):
            raise InvalidInput(f"metric {shorten(self.metric)} is not one of {', '.join(get_args(Metric))}")
        if (self.dtype == "bit") != (self.metric == "hamming"):
            goes = "hamming" if self.dtype == "bit" else "cosine, l2, dot or l1"
            raise InvalidInput(
                f"metric {self.metric!r} does not go with vector type {self.dtype!r}: use {goes}"
                + (", or store bits (dtype='bit')" if self.metric == "hamming" else "")
            )
        if isinstance(self.dim, bool) or not isinstance(self.dim, int | np.integer):
            raise InvalidVector(f"dim must be a whole number, got {shorten(self.dim)}")
        object.__setattr__(self, "dim", int(self.dim))
        if not 1 <= self.dim <= MAX_DIM:
            raise InvalidVector(f"dim must be 1 to {MAX_DIM:,}, got {self.dim}")
        if self.dtype == "bit" and self.dim % 8:
            raise InvalidVector(f"dim of bit vectors must be a multiple of 8, got {self.dim}")

    @property
    def storage_dtype(self) -> np.dtype[Any]:
        """The NumPy type of a stored element; bits are packed into uint8."""
        return _STORAGE[self.dtype]

    @property
    def width(self) -> int:
        """Elements per stored row: `dim`, or `dim / 8` bytes for bits."""
        return self.dim // 8 if self.dtype == "bit" else self.dim

    @property
    def row_bytes(self) -> int:
        """Bytes per stored row."""
        return self.width * self.storage_dtype.itemsize


@lru_cache(maxsize=1024)
def spec_for(dim: int, dtype: str, metric: str) -> VectorSpec:
    """Return the spec of stored names: checked once, the same object each time."""
    return VectorSpec(dim=dim, dtype=cast("DType", dtype), metric=cast("Metric", metric))
