"""Readers of the formats that libraries read: .npy, .hdf5 as ann-benchmarks lays it out, .parquet.

Sizes are checked from the headers before anything is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vicinal.bench.dataset import Metric, check_size
from vicinal.bench.optional import optional
from vicinal.errors import InvalidInput, shorten

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Content", "as_float32", "read_hdf5", "read_npy", "read_parquet"]

_NPY = b"\x93NUMPY"
_METRIC_NAMES: dict[str, Metric] = {
    "angular": "cosine",
    "cosine": "cosine",
    "euclidean": "l2",
    "l2": "l2",
    "dot": "dot",
    "ip": "dot",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Content:
    """What a file holds: vectors (n, dim), and what else it says."""

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32] | None = None
    metric: Metric | None = None
    distances: NDArray[np.float64] | None = None


def as_float32(array: NDArray[Any], rows: int | None, where: str) -> NDArray[np.float32]:
    """Return the first rows of numbers (n, dim) as float32. Raises InvalidInput for another shape or type."""
    if array.ndim != 2:
        message = f"{where}: an array of shape {array.shape}; vectors are (n, dim)"
        raise InvalidInput(message)
    if array.dtype.kind not in "fiu":
        message = f"{where}: values of type {array.dtype}; vectors are numbers"
        raise InvalidInput(message)
    n = array.shape[0] if rows is None else min(rows, array.shape[0])
    check_size(n, array.shape[1], where)
    with np.errstate(over="ignore"):  # what overflows is infinite then, and refused by its row
        return np.ascontiguousarray(array[:n], np.float32)


def read_npy(path: Path, rows: int | None) -> Content:
    """Return the vectors of a .npy file; pickled objects are refused."""
    with path.open("rb") as file:
        magic = file.read(len(_NPY))
    if magic != _NPY:  # NumPy would also open archives and pickles under this name
        message = f"{path.name}: not a .npy file: it does not begin as one"
        raise InvalidInput(message)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        message = f"{path.name}: not a .npy file of numbers: {error}"
        raise InvalidInput(message) from error
    return Content(vectors=as_float32(array, rows, path.name))


def read_hdf5(path: Path, rows: int | None, n_queries: int) -> Content:
    """Return `train`, `test` and `distances` of a file in the layout of ann-benchmarks.

    Raises MissingExtra without h5py.
    """
    h5py = optional("h5py", f"reading {path.name}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        message = f"{path.name}: not an HDF5 file: {error}"
        raise InvalidInput(message) from error
    with file:
        stored = str(file.attrs.get("distance", ""))
        metric = _METRIC_NAMES.get(stored.lower())
        if stored and metric is None:
            message = f"{path.name}: distance {shorten(stored)}; measured are {', '.join(_METRIC_NAMES)}"
            raise InvalidInput(message)
        train = _member(h5py, file, "train", path.name)
        if train is None:
            message = f"{path.name}: no array 'train'; there are: {', '.join(map(repr, list(file)[:10])) or 'none'}"
            raise InvalidInput(message)
        vectors = _part(train, rows, f"{path.name}, train")
        test = _member(h5py, file, "test", path.name)
        queries = None if test is None else _part(test, n_queries, f"{path.name}, test")
        stated = _member(h5py, file, "distances", path.name)
        distances = None if stated is None or queries is None else stated[: len(queries)].astype(np.float64)
    return Content(vectors=vectors, queries=queries, metric=metric, distances=distances)


def _member(h5py: Any, file: Any, name: str, where: str) -> Any:  # noqa: ANN401 - objects of h5py
    """Return an array of numbers of two dimensions, not yet read, or None."""
    found = file.get(name)
    if found is None:
        return None
    if not isinstance(found, h5py.Dataset) or found.ndim != 2:
        message = f"{where}: {name!r} is not an array of shape (n, dim)"
        raise InvalidInput(message)
    return found


def _part(array: Any, rows: int | None, where: str) -> NDArray[np.float32]:  # noqa: ANN401 - of h5py
    n = array.shape[0] if rows is None else min(rows, array.shape[0])
    check_size(n, array.shape[1], where)
    return as_float32(array[:n], None, where)


def read_parquet(path: Path, rows: int | None, column: str | None) -> Content:
    """Return the vectors of a column of lists of numbers; the only such column where none is named.

    Raises MissingExtra without pyarrow.
    """
    pa = optional("pyarrow", f"reading {path.name}", 'pip install "vicinal[parquet]"')
    pq = optional("pyarrow.parquet", f"reading {path.name}", 'pip install "vicinal[parquet]"')
    try:
        with pq.ParquetFile(path) as file:
            return Content(vectors=_lists(pa, file, _list_column(pa, file, column, path.name), rows, path.name))
    except pa.ArrowException as error:
        message = f"{path.name}: not a Parquet file that can be read: {error}"
        raise InvalidInput(message) from error


def _list_column(pa: Any, file: Any, column: str | None, where: str) -> str:  # noqa: ANN401 - of pyarrow
    kinds = pa.types
    lists = [
        entry.name
        for entry in file.schema_arrow
        if (kinds.is_list(entry.type) or kinds.is_large_list(entry.type) or kinds.is_fixed_size_list(entry.type))
        and (kinds.is_floating(entry.type.value_type) or kinds.is_integer(entry.type.value_type))
    ]
    if column is not None and column not in lists:
        message = f"{where}: no column {column!r} of lists of numbers; there are: {', '.join(lists) or 'none'}"
        raise InvalidInput(message)
    if column is None and len(lists) != 1:
        what = f"columns {', '.join(lists)}; choose one with --column" if lists else "no column of lists of numbers"
        message = f"{where}: {what}"
        raise InvalidInput(message)
    return column or cast("str", lists[0])


def _lists(pa: Any, file: Any, column: str, rows: int | None, where: str) -> NDArray[np.float32]:  # noqa: ANN401
    n = int(file.metadata.num_rows) if rows is None else min(rows, int(file.metadata.num_rows))
    vectors: NDArray[np.float32] | None = None
    done = 0
    for batch in file.iter_batches(batch_size=10_000, columns=[column]):
        if done >= n:
            break
        lists = batch.column(0)[: n - done]
        lengths = np.asarray(pa.compute.list_value_length(lists).fill_null(-1))
        flat = lists.flatten()
        dim = int(lengths[0]) if vectors is None else vectors.shape[1]
        wrong = lengths != dim
        if wrong.any() or flat.null_count or dim < 1:
            at = done + int(wrong.argmax())
            message = f"{where}: column {column!r}, row {at:,}: a list of {int(lengths[wrong.argmax()])} numbers"
            if flat.null_count:
                message = f"{where}: column {column!r} has nulls inside its lists"
            raise InvalidInput(f"{message}; the first has {dim}" if wrong.any() else message)
        if vectors is None:
            check_size(n, dim, where)
            vectors = np.empty((n, dim), np.float32)
        with np.errstate(over="ignore"):
            vectors[done : done + len(lists)] = flat.to_numpy(zero_copy_only=False).reshape(-1, dim)
        done += len(lists)
    if vectors is None:
        check_size(0, 0, where)
        message = f"{where}: no rows"
        raise InvalidInput(message)
    return vectors
