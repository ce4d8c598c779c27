"""Turn whatever a caller calls "vectors" into one array in storage layout, or refuse it by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import InvalidVector, shorten
from vicinal.vectors.convert import Quantize, convert

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.vectors.spec import VectorSpec

__all__ = ["parse_vector", "parse_vectors"]


def parse_vectors(value: object, spec: VectorSpec, *, quantize: Quantize | None = None) -> NDArray[Any]:
    """Return `value` as an array (n, width), C-contiguous, in the storage type of `spec`.

    Accepted: arrays of any numeric type, byte order and layout; (nested) lists; lists of arrays or
    of byte strings; JSON text; raw little-endian bytes in storage layout; buffers; anything with
    `__array__`. One vector gives one row. Bits come packed (uint8, dim/8 columns, first dimension
    in the highest bit), or as booleans or zeros and ones (dim columns). `quantize="unit"` lets
    floats in [-1, 1] into an i8 field as round(x * 127).

    Raises InvalidVector naming row, column and value for NaN, infinities, overflow, values out of
    range, zero vectors under cosine, wrong dimensions, ragged rows, and what is not a number.

    The result may be `value` itself, or share its memory: copy before writing to it.

    >>> from vicinal.vectors import VectorSpec
    >>> parse_vectors("[1, 2, 3]", VectorSpec(dim=3))
    array([[1., 2., 3.]], dtype=float32)
    """
    array = _as_array(value, spec)
    if array.ndim == 1 and len(array) == 0:
        array = array.reshape(0, spec.dim).astype(_empty_dtype(spec, quantize))
    if array.ndim == 1:
        array = array.reshape(1, -1)
    array = _real(array, spec)
    if array.ndim != 2:
        raise InvalidVector(f"expected one vector or rows of vectors, got shape {array.shape}")
    packed = spec.dtype == "bit" and array.shape[1] == spec.width and array.dtype == np.uint8
    if array.shape[1] != spec.dim and not packed:
        also = f" (or {spec.width} packed uint8)" if spec.dtype == "bit" else ""
        raise InvalidVector(f"wrong number of dimensions: expected {spec.dim}{also}, got {array.shape[1]}")
    return convert(array, spec, quantize)


def parse_vector(value: object, spec: VectorSpec, *, quantize: Quantize | None = None) -> NDArray[Any]:
    """Return exactly one vector as (width,) in the storage type of `spec`; see `parse_vectors`.

    >>> from vicinal.vectors import VectorSpec
    >>> parse_vector([1, 2], VectorSpec(dim=2, dtype="i8"))
    array([1, 2], dtype=int8)
    """
    if type(value) is np.ndarray and value.shape == (spec.dim,) and value.dtype == spec.storage_dtype:
        if spec.dtype == "f32" and value.flags.c_contiguous and 0.0 < value.dot(value) < np.inf:
            return value  # a finite sum of squares has finite terms
        return convert(value[None], spec, quantize)[0]  # type: ignore[no-any-return]  # the usual query
    rows = parse_vectors(value, spec, quantize=quantize)
    if len(rows) != 1:
        raise InvalidVector(f"expected one vector, got {len(rows)}")
    return rows[0]  # type: ignore[no-any-return]


def _empty_dtype(spec: VectorSpec, quantize: Quantize | None) -> np.dtype[Any]:
    return np.dtype(bool if spec.dtype == "bit" else np.float32 if quantize else spec.storage_dtype)


def _as_array(value: object, spec: VectorSpec) -> NDArray[Any]:
    if isinstance(value, str):
        return _from_list(_from_json(value), spec)
    if isinstance(value, (bytes, bytearray)):
        return _from_bytes(value, spec)
    if isinstance(value, memoryview):
        return _from_bytes(value, spec) if value.format in "Bbc" else np.asarray(value)
    if isinstance(value, np.ndarray):
        return _unboxed(value, spec)
    if isinstance(value, (list, tuple)):
        return _from_list(value, spec)
    if value is None or isinstance(value, (bool, int, float, complex, dict, set)):
        raise InvalidVector(f"not a vector: {shorten(value)}")
    try:
        return _unboxed(np.asarray(value), spec)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidVector(f"not a vector: {shorten(value)} ({error})") from error


def _unboxed(array: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
    """Open object arrays of rows, such as a pandas Series of lists."""
    if array.dtype.kind != "O" or array.ndim != 1 or not len(array):
        return array
    boxed = isinstance(array[0], (list, tuple, np.ndarray, bytes))
    return _from_list(list(array), spec) if boxed else array


def _from_json(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidVector(f"not a JSON array: {shorten(text)} ({error})") from None
    if not isinstance(value, list):
        raise InvalidVector(f"not a JSON array: {shorten(text)}")
    return value


def _from_bytes(value: bytes | bytearray | memoryview, spec: VectorSpec, name: str = "") -> NDArray[Any]:
    size = memoryview(value).nbytes
    if not size or size % spec.row_bytes:
        raise InvalidVector(
            f"{name}wrong number of bytes: expected {spec.row_bytes} per vector ({spec.dtype} x {spec.dim}), got {size}"
        )
    return np.frombuffer(value, spec.storage_dtype.newbyteorder("<")).reshape(-1, spec.width)


def _from_list(rows: list[Any] | tuple[Any, ...], spec: VectorSpec) -> NDArray[Any]:
    if rows and all(isinstance(row, bytes) for row in rows):
        return np.concatenate([_from_bytes(row, spec, f"row {i}: ") for i, row in enumerate(rows)])
    try:
        array = np.asarray(rows)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        _refuse_ragged(rows, spec)
        raise InvalidVector(f"not rows of vectors: {shorten(rows)} ({error})") from error
    if array.dtype.kind not in "fiub":
        _refuse_ragged(rows, spec)
        return np.asarray(rows, dtype=object)  # what they were before NumPy made them strings
    return array


def _refuse_ragged(rows: list[Any] | tuple[Any, ...], spec: VectorSpec) -> None:
    """Raise for the first row that is not a sequence of `dim` values, if there is one."""
    if not any(hasattr(row, "__len__") and not isinstance(row, str) for row in rows):
        return
    for index, row in enumerate(rows):
        if isinstance(row, str) or not hasattr(row, "__len__"):
            raise InvalidVector(f"row {index}: expected {spec.dim} numbers, got {shorten(row)}")
        if len(row) != spec.dim:
            raise InvalidVector(f"row {index}: expected {spec.dim} dimensions, got {len(row)}")


def _real(array: NDArray[Any], spec: VectorSpec) -> NDArray[Any]:
    kind = array.dtype.kind
    if kind in "fiu" or (kind == "b" and spec.dtype == "bit"):
        return array
    if kind == "O" and array.size:
        _refuse_objects(array)
        return array.astype(np.float64)
    first = array.reshape(-1)[0].item() if array.size else None
    raise InvalidVector(f"row 0, column 0: {shorten(first)} is not a real number ({array.dtype})")


def _refuse_objects(array: NDArray[Any]) -> None:
    columns = array.shape[-1]
    for index, item in enumerate(array.reshape(-1)):
        if isinstance(item, bool) or not isinstance(item, (int, float, np.number)):
            row, column = divmod(index, columns)
            raise InvalidVector(f"row {row}, column {column}: {shorten(item)} is not a real number")
        if isinstance(item, int) and not -(2**63) <= item < 2**64:
            row, column = divmod(index, columns)
            raise InvalidVector(f"row {row}, column {column}: {shorten(item)} is too large")
