"""The collection that an import goes into: opened if it exists, else made from what is known."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vicinal.embedding import registered
from vicinal.errors import InvalidInput, Unsupported
from vicinal.exchange.batch import ONLY, Batch
from vicinal.indexing import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vicinal.collection import Collection
    from vicinal.database import Database
    from vicinal.embedding import EmbedderSpec
    from vicinal.exchange.batch import Source, VectorColumn
    from vicinal.exchange.spec import Spec
    from vicinal.vectors import DType, Metric

__all__ = ["Wanted", "discarded_if_empty", "first_rows", "open_target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the caller asks of the collection; None: as the file says, or the default."""

    embedder: EmbedderSpec | None = None
    dim: int | None = None
    metric: Metric | None = None
    dtype: DType | None = None
    quantize: Literal["unit"] | None = None

    def given(self) -> dict[str, Any]:
        """Return what was asked for."""
        found = {
            "embedder": self.embedder, "dim": self.dim, "metric": self.metric, "dtype": self.dtype,
            "quantize": self.quantize,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}


def first_rows(source: Source) -> Batch:
    """Return the first row of a source as a batch. Raises InvalidInput where there is none."""
    sample = next(iter(source.batches(1)), None)
    if sample is None and source.spec is None:
        message = f"{source.path.name} holds no rows"
        raise InvalidInput(message)
    return sample if sample is not None else Batch(numbers=())


@contextmanager
def discarded_if_empty(database: Database, collection: Collection, *, created: bool) -> Iterator[None]:
    """Drop a collection that was created for an import where the block fails before its first row."""
    try:
        yield
    except BaseException:
        if created and not len(collection):
            database.drop(collection.name)
        raise


def open_target(database: Database, name: str, source: Source, sample: Batch, wanted: Wanted) -> Collection:
    """Return the collection for an import, created where it does not exist.

    A new one is as the export's header says, with what is `wanted` taking precedence. Without a header it
    gets the wanted embedder, or else a field of the dimension that `sample` has. Raises SpecMismatch
    where what is wanted contradicts a collection that exists, and InvalidInput where neither vectors nor
    an embedder are there.
    """
    given = wanted.given()
    if name in database.collections():
        return database.collection(name, **given)
    if source.spec is not None:
        collection = database.collection(name, **_recreated(source.spec, wanted))
        with discarded_if_empty(database, collection, created=True):
            _choose_indexes(collection, source.spec, wanted)
        return collection
    if wanted.embedder is None and sample.vectors is None:
        message = f"{source.path.name} has texts and no vectors: choose an embedder, for example 'wordllama'"
        if sample.documents is None:
            message = f"{source.path.name} has neither texts nor vectors in the columns that were looked at"
        raise InvalidInput(message)
    if wanted.embedder is None and sample.vectors is not None:
        named = {field: _dim(column, wanted) for field, column in sample.vectors.items()}
        if set(named) == {ONLY}:
            given.setdefault("dim", named[ONLY])
        else:
            options = {key: given.pop(key) for key in ("metric", "dtype") if key in given}
            given["vectors"] = {field: {"dim": dim, **options} for field, dim in named.items()}
    return database.collection(name, **given)


def _recreated(spec: Spec, wanted: Wanted) -> dict[str, Any]:
    given = wanted.given()
    embedder = spec.embedder
    if embedder and "embedder" not in given and embedder.partition(":")[0] in registered():
        given["embedder"] = embedder
    if spec.quantize:
        given.setdefault("quantize", spec.quantize)
    options = {key: given.pop(key) for key in ("metric", "dtype", "dim") if key in given}
    given["vectors"] = {
        name: {"dim": entry.dim, "metric": entry.metric, "dtype": entry.dtype, **options}
        for name, entry in spec.fields.items()
    }
    return given


def _choose_indexes(collection: Collection, spec: Spec, wanted: Wanted) -> None:
    """Choose the kinds of index that an export names; they are made when rows are there.

    A kind that does not suit the type or the metric that is wanted instead of the export's is left out.
    """
    for name, entry in spec.fields.items():
        if entry.index.kind == AUTO:
            continue
        with suppress(Unsupported):
            entry.index.check_suits(wanted.dtype or entry.dtype, wanted.metric or entry.metric, wanted.dim or entry.dim)
            collection.index(entry.index.kind, using=name, progress=None, **entry.index.parameters)


def _dim(column: VectorColumn, wanted: Wanted) -> int | None:
    """Return the dimension of the first vector; packed bits count eightfold."""
    first = next((vector for vector in column if vector is not None), None)
    if first is None or not hasattr(first, "__len__"):
        return None
    packed = wanted.dtype == "bit" and isinstance(first, np.ndarray) and first.dtype == np.uint8
    return len(first) * 8 if packed else len(first)
