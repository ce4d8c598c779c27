"""Turn numeric arrays (n, columns) into storage arrays, refusing what would lose meaning.

Each refusal names the first offending row, column and value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vicinal.errors import InvalidInput, InvalidVector, shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.vectors.spec import VectorSpec

__all__ = ["Quantize", "convert"]

Quantize = Literal["unit"]

_HALF_EXPONENT = np.uint16(0x7C00)
_HALF_MAGNITUDE = np.uint16(0x7FFF)


def convert(array: NDArray[Any], spec: VectorSpec, quantize: Quantize | None) -> NDArray[Any]:
    """Return `array` (n, columns) as (n, width) C-contiguous in the storage type of `spec`.

    The result is `array` itself when nothing has to change.
    """
    if quantize is not None and quantize != "unit":
        raise InvalidInput(f'quantize must be None or "unit", got {shorten(quantize)}')
    if quantize is not None and spec.dtype != "i8":
        raise InvalidInput(f'quantize="unit" is for i8 vectors; this field holds {spec.dtype}')
    if spec.dtype == "bit":
        return _bits(array, spec)
    if spec.dtype == "i8":
        result = _int8(array, quantize)
        if spec.metric == "cosine":
            _refuse_zero_rows(result)
        return result
    if spec.dtype == "f16":
        return _half(array, spec)
    return _single(array, spec)


def refuse(array: NDArray[Any], bad: NDArray[np.bool_], why: str) -> None:
    """Raise InvalidVector naming the first true cell of `bad` (n, columns), if there is one."""
    cells = np.flatnonzero(bad)
    if len(cells):
        row, column = divmod(int(cells[0]), array.shape[1])
        raise InvalidVector(f"row {row}, column {column}: {array[row, column].item()!r} {why}")


def _refuse_zero_rows(array: NDArray[Any]) -> None:
    rows = np.flatnonzero(~np.any(array, axis=1))
    if len(rows):
        raise InvalidVector(f"row {rows[0]}: a zero vector has no direction, so cosine cannot compare it")


def _refuse_not_finite(array: NDArray[Any], result: NDArray[Any], dtype: str) -> None:
    if array.dtype.kind == "f":
        refuse(array, ~np.isfinite(array), "is not a finite number")
    refuse(array, ~np.isfinite(result), f"is too large for {dtype}")


def _single(array: NDArray[Any], spec: VectorSpec) -> NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        result = np.ascontiguousarray(array, np.float32)
        # One pass answers both questions for ordinary rows: a finite sum of squares has finite
        # terms, and a positive one belongs to a row that is not zero.
        squares = np.vecdot(result, result)
    if not np.isfinite(squares).all():
        _refuse_not_finite(array, result, "f32")
    if spec.metric == "cosine" and not squares.all():
        _refuse_zero_rows(result)
    return result


def _half(array: NDArray[Any], spec: VectorSpec) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, np.float16)
    bits = result.view(np.uint16)
    if ((bits & _HALF_EXPONENT) == _HALF_EXPONENT).any():
        _refuse_not_finite(array, result, "f16 (largest 65504)")
    if spec.metric == "cosine":
        _refuse_zero_rows(bits & _HALF_MAGNITUDE)
    return result


def _int8(array: NDArray[Any], quantize: Quantize | None) -> NDArray[np.int8]:
    if array.dtype.kind in "iu":
        if quantize is not None:
            raise InvalidVector('quantize="unit" takes floats in [-1, 1], got integers')
        if array.dtype != np.int8:
            refuse(array, (array < -128) | (array > 127), "is outside -128..127 (i8)")
        return np.ascontiguousarray(array, np.int8)
    if quantize is None:
        raise InvalidVector(
            f'{array.dtype} values into an i8 field: pass integers, or quantize="unit" for floats in [-1, 1]'
        )
    refuse(array, ~np.isfinite(array), "is not a finite number")
    refuse(array, np.abs(array) > 1.0, 'is outside [-1, 1] (quantize="unit")')
    return np.ascontiguousarray(np.rint(array.astype(np.float64) * 127.0), np.int8)


def _bits(array: NDArray[Any], spec: VectorSpec) -> NDArray[np.uint8]:
    if array.dtype.kind == "f":
        raise InvalidVector(
            f"{array.dtype} values into a bit field: pass booleans such as `vectors > 0`, zeros "
            "and ones, or packed uint8"
        )
    if array.shape[1] == spec.width and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "b":
        refuse(array, (array != 0) & (array != 1), "is neither 0 nor 1")
    return np.packbits(array.astype(bool), axis=1)
