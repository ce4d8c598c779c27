"""Vectors as graphs and lists compare them: float32, unit length for cosine, scaled otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import Corrupted, InvalidInput, shorten
from vicinal.index.codebook import _check_rows, _plain_rows, _scale_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vicinal.vectors import VectorSpec

__all__ = ["PlainSpace", "named_array", "one_number", "whole_number"]

_STEP_ELEMENTS = 1 << 21
_SAMPLE_ROWS = 16_384
_MOST = 2.0**40


@dataclass(frozen=True, slots=True)
class PlainSpace:
    """How vectors of a field become float32 rows that L2 or the inner product compares.

    `scale` is a power of two that brings typical elements near one, so that squares stay finite;
    1 for cosine, which normalises: among unit rows l2 ranks as cosine does.
    """

    spec: VectorSpec
    scale: float

    def __post_init__(self) -> None:
        if self.spec.dtype == "bit" or self.spec.metric not in ("cosine", "l2", "dot"):
            raise InvalidInput(
                f"graphs and lists are for f32, f16 and i8 by cosine, l2 or dot, "
                f"not for {self.spec.dtype} by {self.spec.metric}"
            )

    @classmethod
    def of(cls, sample: NDArray[Any], spec: VectorSpec) -> PlainSpace:
        """Return the space of vectors like `sample` (n, dim), in storage type."""
        space = cls(spec, 1.0)
        space.check(sample)
        return cls(spec, _scale_of(sample, spec)) if len(sample) else space

    @property
    def l2(self) -> bool:
        """Whether rows are compared by squared distance, or else by inner product."""
        return self.spec.metric != "dot"

    @property
    def step(self) -> int:
        """Rows to convert at once, so that temporaries stay within some megabytes."""
        return max(32, _STEP_ELEMENTS // self.spec.dim)

    def check(self, vectors: NDArray[Any]) -> None:
        """Raise InvalidInput unless `vectors` are (n, dim), in storage type."""
        _check_rows(vectors, self.spec)

    def rows(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 rows (n, dim), finite, of `vectors` (n, dim) in storage type; never a view."""
        self.check(vectors)
        rows = _plain_rows(vectors, self.spec, self.scale)
        return rows.copy() if np.shares_memory(rows, vectors) else rows

    def sample(self, vectors: NDArray[Any], n_rows: int = _SAMPLE_ROWS, *, seed: int = 0) -> NDArray[np.float32]:
        """Return up to `n_rows` rows chosen by `seed`."""
        self.check(vectors)
        if len(vectors) <= n_rows:
            return self.rows(vectors)
        return self.rows(vectors[np.sort(np.random.default_rng(seed).permutation(len(vectors))[:n_rows])])

    def query(self, query: NDArray[Any]) -> NDArray[np.float32]:
        """Return a query (dim,) as one row (1, dim): of unit length for cosine and dot, scaled for l2."""
        exact = np.asarray(query, np.float64)
        if exact.shape != (self.spec.dim,):
            raise InvalidInput(f"expected a query of shape ({self.spec.dim},), got {exact.shape}")
        square = float(exact.dot(exact))
        if not math.isfinite(square):
            raise InvalidInput("a query holds a number that is not finite")
        if self.spec.metric != "l2":
            exact = exact / (math.sqrt(square) or 1.0)
        elif math.sqrt(square) * self.scale <= _MOST:
            exact = exact * self.scale
        else:
            exact = np.clip(exact * self.scale, -_MOST, _MOST)
        return exact.astype(np.float32)[None]

    def values(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return -cos, -x.q / |q| or squared distances of raw squared distances or products; smaller is nearer."""
        if self.spec.metric == "cosine":
            return raw * np.float32(0.5) - np.float32(1.0)
        factor = self.scale**-2 if self.l2 else -1.0 / self.scale
        with np.errstate(over="ignore", under="ignore"):
            return (raw.astype(np.float64) * factor).astype(np.float32)


def named_array(
    arrays: Mapping[str, NDArray[Any]], kind: str, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Return a contiguous copy of `arrays[name]`; raise Corrupted unless type and shape (None: any) are these."""
    array = arrays.get(name)
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != len(shape):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else shorten(array)
        raise Corrupted(f"{kind}: {name} must be a {np.dtype(dtype)} array of {len(shape)} dimension(s), found {found}")
    if any(due is not None and due != got for due, got in zip(shape, array.shape, strict=True)):
        expected = str(tuple("n" if due is None else due for due in shape)).replace("'", "")
        raise Corrupted(f"{kind}: {name} must have shape {expected}, found {array.shape}")
    return np.array(array, order="C", copy=True)


def one_number(
    arrays: Mapping[str, NDArray[Any]], kind: str, name: str, dtype: type[np.generic], bounds: tuple[float, float]
) -> float:
    """Return the one number in `arrays[name]`; raise Corrupted if it is not within `bounds`."""
    number = float(named_array(arrays, kind, name, dtype, (1,))[0])
    if not bounds[0] <= number <= bounds[1]:
        raise Corrupted(f"{kind}: {name} {number} is not from {bounds[0]} to {bounds[1]}")
    return number


def whole_number(value: object, name: str, bounds: tuple[int, int]) -> int:
    """Return `value` if it is a whole number within `bounds`; raise InvalidInput otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not bounds[0] <= value <= bounds[1]:
        raise InvalidInput(f"{name} must be a whole number from {bounds[0]} to {bounds[1]}, got {shorten(value)}")
    return int(value)
