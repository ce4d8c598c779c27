"""Rows as callers have them (columns, dicts, frames) made into one checked `Batch`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from vicinal.batch import Batch, FieldVectors
from vicinal.errors import InvalidInput, InvalidVector, shorten
from vicinal.values import check_document, check_ids, encode_rows, to_microseconds
from vicinal.vectors import parse_vectors, spec_for

if TYPE_CHECKING:
    from vicinal.backend import CollectionInfo, FieldSpec

_RESERVED: Final = ("id", "vector", "vectors", "document", "metadata", "expires", "ttl")
_MAX_TTL_SECONDS: Final = 100 * 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What was given, column by column; each has one entry per row, or is None."""

    ids: Any = None
    vectors: Any = None
    documents: Any = None
    metadata: Any = None
    expires: Any = None
    ttl: Any = None

    def given(self) -> bool:
        """Return whether any column was given."""
        return any(getattr(self, name) is not None for name in self.__slots__)

    def length(self) -> int:
        """Return the number of rows; refuse columns of different lengths."""
        lengths = {}
        for name in ("ids", "documents", "metadata"):
            column = getattr(self, name)
            if column is not None:
                lengths[name] = _length(column, name)
        if isinstance(self.vectors, Mapping):
            lengths |= {f"vectors[{name!r}]": _count(given) for name, given in self.vectors.items()}
        elif self.vectors is not None:
            lengths["vectors"] = _count(self.vectors)
        if not lengths:
            raise InvalidInput("nothing to store: give ids=, vectors=, documents= or metadata=, or a list of rows")
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise InvalidInput(f"columns of different lengths: {listed}; each needs one entry per row")
        return next(iter(lengths.values()))


def _length(column: object, name: str) -> int:
    if isinstance(column, (str, bytes, Mapping)) or not hasattr(column, "__len__"):
        raise InvalidInput(f"{name} is a list with one entry per row, not {shorten(column)}")
    if getattr(column, "ndim", 1) == 0:
        raise InvalidInput(f"{name} is a list with one entry per row, not one value: {shorten(column)}")
    return len(column)


def _count(vectors: object) -> int:
    """Return how many vectors were given; a single flat one counts as one."""
    if isinstance(vectors, (str, bytes)):
        return 1
    if not hasattr(vectors, "__len__") or getattr(vectors, "ndim", 1) == 0:
        raise InvalidVector(f"vectors is an array of shape (n, dim) or a list of vectors, not {shorten(vectors)}")
    n_axes = getattr(vectors, "ndim", None)
    if n_axes == 1 and getattr(vectors, "dtype", None) != np.object_:
        return 1
    if n_axes in (None, 1) and isinstance(next(iter(cast("Any", vectors)), None), (int, float, np.number)):
        return 1
    return len(vectors)


def columns_of(rows: Any, *, patch: bool = False) -> Columns:
    """Return the columns of a list of dicts, or of a pandas, polars or Arrow table.

    The keys id, vector, vectors, document, metadata, expires and ttl mean what they say; every other
    key is metadata. In tables, missing cells (NaN, NaT, null) are left out of the metadata.
    patch: refuse dicts of which only some give a document or an expiry, which would remove it elsewhere.
    """
    if hasattr(rows, "to_arrow") and hasattr(rows, "columns"):
        rows = rows.to_arrow()
    if hasattr(rows, "column_names") and hasattr(rows, "to_pylist"):
        return _of_table({name: _arrow_column(rows, name) for name in rows.column_names})
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        return _of_table({str(name): rows[name].tolist() for name in rows.columns})
    if isinstance(rows, Mapping):
        raise InvalidInput(
            "rows is a list of dicts, one per row; for columns use ids=, vectors=, documents=, metadata="
        )
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
        raise InvalidInput(f"rows is a list of dicts or a table, not {shorten(rows)}")
    found = list(rows)
    columns = _of_dicts(found)
    for name in ("document", "expires", "ttl") if patch else ():
        without = [at for at, row in enumerate(found) if name not in row]
        if 0 < len(without) < len(found):
            raise InvalidInput(
                f"rows[{without[0]}] has no {name!r}, other rows have one: update them in two calls; "
                f"to remove it, say {name!r}: None"
            )
    return columns


def _arrow_column(table: Any, name: str) -> Any:
    column = table.column(name)
    kind = str(column.type)
    if kind.startswith("fixed_size_list") and column.null_count == 0:
        flat = column.combine_chunks().flatten()
        if flat.null_count == 0:
            return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_pylist()


def _of_dicts(rows: list[object]) -> Columns:
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"rows[{at}] is a dict such as {{'id': 'a', 'document': '…'}}, not {shorten(row)}")
    found = cast("list[Mapping[str, object]]", rows)
    present = {name: any(name in row for row in found) for name in _RESERVED}

    def column(name: str) -> list[object] | None:
        return [row.get(name) for row in found] if present[name] else None

    if present["id"]:
        for at, row in enumerate(found):
            if row.get("id") is None:
                raise InvalidInput(f"rows[{at}] has no id, other rows have one; give all or none")
    metadata = [_metadata_of(row, at) for at, row in enumerate(found)]
    vectors: object = column("vector")
    if present["vectors"]:
        if vectors is not None:
            raise InvalidInput("rows have both 'vector' and 'vectors'; 'vectors' names several fields")
        named = [row.get("vectors") or {} for row in found]
        if not all(isinstance(entry, Mapping) for entry in named):
            raise InvalidInput("'vectors' of a row is a dict of field name to vector; for one field use 'vector'")
        maps = cast("list[Mapping[str, object]]", named)
        names = {name for entry in maps for name in entry}
        vectors = {name: [entry.get(name) for entry in maps] for name in sorted(names)}
    return Columns(
        ids=column("id"),
        vectors=vectors,
        documents=column("document"),
        metadata=metadata if any(metadata) or not rows else None,
        expires=column("expires"),
        ttl=column("ttl"),
    )


def _metadata_of(row: Mapping[str, object], at: int) -> dict[str, object]:
    given = row.get("metadata") or {}
    if not isinstance(given, Mapping):
        raise InvalidInput(f"rows[{at}]: metadata is a dict, not {shorten(given)}")
    return {**given, **{key: value for key, value in row.items() if key not in _RESERVED}}


def _of_table(columns: dict[str, Any]) -> Columns:
    known = {name: column for name, column in columns.items() if name in _RESERVED}
    named = {name.removeprefix("vector_"): known_or for name, known_or in columns.items() if name.startswith("vector_")}
    others = {
        name: column for name, column in columns.items() if name not in _RESERVED and not name.startswith("vector_")
    }
    n = len(next(iter(columns.values()))) if columns else 0
    metadata: list[dict[str, object]] = [dict(_present(entry)) for entry in known.get("metadata", [None] * n)]
    for name, column in others.items():
        for row, value in zip(metadata, column, strict=True):
            if not _is_missing(value):
                row[name] = value
    documents = known.get("document")
    return Columns(
        ids=known.get("id"),
        vectors=named or known.get("vector"),
        documents=None if documents is None else [None if _is_missing(text) else text for text in documents],
        metadata=metadata if others or "metadata" in known else None,
        expires=_times(known.get("expires")),
        ttl=_times(known.get("ttl")),
    )


def _times(column: Iterable[object] | None) -> list[object] | None:
    return None if column is None else [None if _is_missing(cell) else cell for cell in column]


def _present(entry: object) -> Mapping[str, object]:
    if isinstance(entry, Mapping):
        return entry
    if _is_missing(entry):
        return {}
    raise InvalidInput(f"the column 'metadata' holds dicts, not {shorten(entry)}; name it otherwise, or parse it")


def _is_missing(value: object) -> bool:
    """Return whether a table's cell is empty: None, NaN, NaT or NA, none of which equals itself."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124 - NaN


def prepare(info: CollectionInfo, columns: Columns, *, now: int) -> Batch:
    """Return the batch, every value checked against the collection. Raises InvalidInput and its kin."""
    n = columns.length()
    return Batch(
        n=n,
        collection=info.identity,
        ids=None if columns.ids is None else check_ids(columns.ids),
        vectors=_fields(info, columns.vectors),
        documents=_documents(columns.documents),
        metadata=_metadata(columns.metadata),
        expires=expiries(columns.expires, columns.ttl, n, now),
    )


def _documents(documents: object) -> list[str | None] | None:
    if documents is None:
        return None
    return [check_document(text, f"documents[{at}]") for at, text in enumerate(cast("Iterable[object]", documents))]


def _metadata(metadata: object) -> list[str | None] | None:
    if metadata is None:
        return None
    return encode_rows(list(cast("Iterable[object]", metadata)), "metadata")


def _fields(info: CollectionInfo, vectors: object) -> dict[str, FieldVectors]:
    if vectors is None:
        return {}
    if not isinstance(vectors, Mapping):
        if len(info.fields) != 1:
            names = ", ".join(repr(entry.name) for entry in info.fields)
            raise InvalidInput(f"{info.name!r} has the vector fields {names}; give vectors={{name: array}}")
        vectors = {info.fields[0].name: vectors}
    known = {entry.name: entry for entry in info.fields}
    found = {}
    for name, given in vectors.items():
        if name not in known:
            names = ", ".join(map(repr, known))
            raise InvalidInput(f"{info.name!r} has no vector field {shorten(name)}; there are: {names}")
        found[name] = field_vectors(known[name], given, info.quantize)
    return found


def field_vectors(entry: FieldSpec, given: Any, quantize: str | None) -> FieldVectors:
    """Return the vectors of one field; None in a list is a row without one."""
    at = np.arange(_count(given))
    if isinstance(given, (list, tuple)) and any(vector is None for vector in given):
        at = np.array([position for position, vector in enumerate(given) if vector is not None], np.int64)
        given = [vector for vector in given if vector is not None]
    dim = entry.dim if entry.dim is not None else _dim_of(given, entry.dtype)
    spec = spec_for(dim, entry.dtype, entry.metric)
    if not len(at):
        return FieldVectors(vectors=np.empty((0, spec.width), spec.storage_dtype), rows=at, dim=dim)
    vectors = parse_vectors(given, spec, quantize=cast("Any", quantize))
    if len(vectors) != len(at):
        raise InvalidVector(f"{len(vectors)} vectors of field {entry.name!r} where {len(at)} were expected")
    return FieldVectors(vectors=np.ascontiguousarray(vectors), rows=at, dim=dim)


def _dim_of(given: Any, dtype: str) -> int:
    """Return the dimension that the first vector says, for a field that has none yet."""
    shape = getattr(given, "shape", None)
    if shape:
        width = int(shape[-1])
    else:
        first = given[0] if isinstance(given, (list, tuple)) and len(given) else given
        if isinstance(first, (str, bytes)):
            raise InvalidVector(
                "the first vectors of a field come as numbers, which say its dimension; or create it with dim="
            )
        width = len(first) if hasattr(first, "__len__") else len(given)
    packed = dtype == "bit" and getattr(given, "dtype", None) == np.uint8
    return width * 8 if packed else width


def expiries(expires: Any, ttl: Any, n: int, now: int) -> list[int | None] | None:
    """Return the moment each row expires (UTC microseconds) from `expires` or `ttl`, one or per row."""
    if expires is not None and ttl is not None:
        raise InvalidInput("give expires= (a moment) or ttl= (seconds from now), not both")
    given, convert = (expires, _moment) if ttl is None else (ttl, _after)
    if given is None:
        return None
    if isinstance(given, (list, tuple, np.ndarray)):
        if len(given) != n:
            raise InvalidInput(f"{len(given)} times to expire for {n} rows; give one, or one per row")
        return [None if value is None else convert(value, now) for value in given]
    return [convert(given, now)] * n


def _moment(value: object, _now: int) -> int:
    if not isinstance(value, datetime):
        raise InvalidInput(f"expires is an aware datetime, not {shorten(value)}; for seconds from now use ttl=")
    return to_microseconds(value, "expires")


def _after(value: object, now: int) -> int:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and 0 <= value <= _MAX_TTL_SECONDS:
        return now + int(value * 1_000_000)
    raise InvalidInput(f"ttl is a number of seconds from 0 to {_MAX_TTL_SECONDS}, not {shorten(value)}")


def with_unset(batch: Batch, unset: tuple[str, ...]) -> Batch:
    """Return the batch with metadata keys to remove."""
    return replace(batch, unset=unset)


def check_unset(unset: object) -> tuple[str, ...]:
    """Return the names of metadata keys to remove."""
    names = tuple(unset) if isinstance(unset, (list, tuple, set, frozenset)) else (unset,)
    for name in names:
        if not isinstance(name, str) or not name:
            message = f"unset takes names of metadata fields, not {shorten(name)}"
            raise InvalidInput(message)
    return cast("tuple[str, ...]", names)
