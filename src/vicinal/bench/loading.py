"""Data sets from files: which reader a file needs, and what becomes of what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vicinal.bench.binary import read_bvecs, read_fvecs, read_idx_folder
from vicinal.bench.dataset import HELD_OUT, METRICS, Dataset, Metric, QuerySet, checked, hold_out
from vicinal.bench.files import Content, read_hdf5, read_npy, read_parquet
from vicinal.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FASHION_MNIST", "Reading", "read_dataset"]

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts it; the name `fashion-mnist` stands for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read a data set; what is None is as the file says.

    rows: use only the first ones. queries: at most so many. query_file: queries of one's own instead of
    held-out rows. column: of a Parquet file. metric: between vectors.
    """

    rows: int | None = None
    queries: int = 1000
    query_file: Path | None = None
    column: str | None = None
    metric: Metric | None = None
    seed: int = 0


_READERS: dict[str, Callable[[Path, Reading], Content]] = {
    ".npy": lambda path, reading: read_npy(path, reading.rows),
    ".hdf5": lambda path, reading: read_hdf5(path, reading.rows, reading.queries),
    ".h5": lambda path, reading: read_hdf5(path, reading.rows, reading.queries),
    ".fvecs": lambda path, reading: read_fvecs(path, reading.rows),
    ".bvecs": lambda path, reading: read_bvecs(path, reading.rows),
    ".parquet": lambda path, reading: read_parquet(path, reading.rows, reading.column),
}


def read_dataset(path: Path, reading: Reading) -> Dataset:
    """Return the data set of a file or of a folder of idx files.

    The metric is the stated one, else the file's, else l2 for pixels and descriptors and cosine for the rest.
    Queries come from `query_file`, else from the file, else rows are held out. Raises NotFound, InvalidInput
    naming file and reason, or MissingExtra.
    """
    if reading.metric is not None and reading.metric not in METRICS:
        message = f"metric is one of {', '.join(METRICS)}, not {reading.metric!r}"
        raise InvalidInput(message)
    for name, value in (("rows", reading.rows), ("queries", reading.queries)):
        if value is not None and value < 1:
            message = f"{name} is a number above 0, not {value}"
            raise InvalidInput(message)
    content = _read(path, reading)
    metric = reading.metric or content.metric or "cosine"
    vectors = checked(content.vectors, metric, path.name)
    name, queries = "test", content.queries
    if reading.query_file is not None:
        name, queries = reading.query_file.name, _read(reading.query_file, Reading(rows=reading.queries)).vectors
    elif queries is None:
        name = HELD_OUT
        vectors, queries = hold_out(vectors, reading.queries, reading.seed, path.name)
    queries = checked(queries[: reading.queries], metric, (reading.query_file or path).name)
    if queries.shape[1] != vectors.shape[1]:
        message = f"{path.name}: vectors have {vectors.shape[1]} dimensions, queries {queries.shape[1]}"
        raise InvalidInput(message)
    comparable = reading.query_file is None and reading.rows is None and metric == content.metric
    return Dataset(
        name=f"{path.name} {len(vectors):,} x {vectors.shape[1]}",
        metric=metric,
        vectors=np.ascontiguousarray(vectors),
        queries=(QuerySet(name=name, vectors=np.ascontiguousarray(queries)),),
        about={"file": path.name, "seed": reading.seed},
        distances=content.distances if comparable else None,
    )


def _read(path: Path, reading: Reading) -> Content:
    if str(path) == "fashion-mnist" and not path.exists():
        path = FASHION_MNIST
    if path.is_dir():
        return read_idx_folder(path, reading.rows)
    if not path.exists():
        hint = "; install the package dataset-fashion-mnist, or give its folder" if path == FASHION_MNIST else ""
        message = f"no file {str(path)!r}{hint}"
        raise NotFound(message)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        message = f"{path.name}: cannot read {path.suffix or 'a name without suffix'}; known are {', '.join(_READERS)}"
        raise InvalidInput(message)
    try:
        return reader(path, reading)
    except OSError as error:
        message = f"{path.name}: {error}"
        raise InvalidInput(message) from error
