"""Readers of formats without a library: .fvecs and .bvecs of TEXMEX, idx of MNIST and its successors."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from vicinal.bench.dataset import MAX_DIM, check_size
from vicinal.bench.files import Content, as_float32
from vicinal.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_bvecs", "read_fvecs", "read_idx_folder"]

_HEAD = 4  # bytes of the dimension before each vector
_IDX_IMAGES = 0x00000803  # unsigned bytes, three dimensions
_IDX_HEAD = 16
_TRAIN = "train-images-idx3-ubyte"
_TEST = "t10k-images-idx3-ubyte"


def read_fvecs(path: Path, rows: int | None) -> Content:
    """Return vectors that are each an int32 dimension and as many float32, little-endian."""
    return Content(vectors=_vecs(path, rows, np.dtype("<f4")), metric="l2")


def read_bvecs(path: Path, rows: int | None) -> Content:
    """Return vectors that are each an int32 dimension and as many bytes."""
    return Content(vectors=_vecs(path, rows, np.dtype("u1")), metric="l2")


def _vecs(path: Path, rows: int | None, dtype: np.dtype[np.generic]) -> NDArray[np.float32]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    dim = struct.unpack("<i", head)[0] if len(head) == _HEAD else 0
    if not 1 <= dim <= MAX_DIM:
        message = f"{path.name}: a first vector of {dim:,} dimensions; not a {path.suffix} file"
        raise InvalidInput(message)
    width = _HEAD + dim * dtype.itemsize
    if size % width:
        message = f"{path.name}: {size:,} bytes are no whole number of vectors of {dim:,} dimensions ({width:,} bytes)"
        raise InvalidInput(message)
    n = size // width if rows is None else min(rows, size // width)
    check_size(n, dim, path.name)
    records = np.memmap(path, np.dtype([("dim", "<i4"), ("vector", dtype, (dim,))]), "r", shape=(n,))
    other = np.flatnonzero(records["dim"] != dim)
    if len(other):
        found = int(records["dim"][other[0]])
        message = f"{path.name}: vector {int(other[0]):,} has {found:,} dimensions, the first {dim:,}"
        raise InvalidInput(message)
    return np.ascontiguousarray(records["vector"], np.float32)


def read_idx_folder(folder: Path, rows: int | None) -> Content:
    """Return the training images as vectors and the test images as queries, of a folder of idx files.

    The files may be compressed with gzip. Raises NotFound naming the file that is missing.
    """
    train, test = _find(folder, _TRAIN), _find(folder, _TEST)
    return Content(vectors=_images(train, rows), queries=_images(test, None), metric="l2")


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    message = f"no {name} or {name}.gz in {str(folder)!r}"
    raise NotFound(message)


def _images(path: Path, rows: int | None) -> NDArray[np.float32]:
    if path.suffix != ".gz":
        with path.open("rb") as file:
            return _idx(file, path.name, rows)
    with gzip.open(path, "rb") as file:
        try:
            return _idx(cast("BinaryIO", file), path.name, rows)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            message = f"{path.name}: damaged gzip data: {error}"
            raise InvalidInput(message) from error


def _idx(file: BinaryIO, where: str, rows: int | None) -> NDArray[np.float32]:
    head = file.read(_IDX_HEAD)
    if len(head) < _IDX_HEAD or struct.unpack(">I", head[:4])[0] != _IDX_IMAGES:
        message = f"{where}: not an idx file of images (unsigned bytes, three dimensions)"
        raise InvalidInput(message)
    stored, height, width = struct.unpack(">III", head[4:])
    n = stored if rows is None else min(rows, stored)
    check_size(n, height * width, where)
    wanted = n * height * width
    # Read no more than the header promises, however much the rest would unpack to.
    data = file.read(wanted)
    if len(data) < wanted or (n == stored and file.read(1)):
        message = f"{where}: the data do not have the size of {stored:,} images of {height} x {width} bytes"
        raise InvalidInput(message)
    return as_float32(np.frombuffer(data, np.uint8).reshape(n, height * width), None, where)
