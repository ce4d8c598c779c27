"""Writing a collection to JSON lines or Parquet, so that an import makes it again exactly.

Numbers are written so that they read back bit by bit: a float32 is a float64 exactly, and JSON carries a
float64's shortest digits. Times are `{"$date": microseconds since 1970, UTC}`, as they are stored. A file
appears under its name only when it is complete.

The rows are read in short snapshots: a row that exists throughout is written exactly once, while rows
that change during the export may be written as they were before or after.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import AlreadyExists, NotFound, StorageError, StorageFull, VicinalError
from vicinal.exchange.jsonl import EXPIRES, VECTORS
from vicinal.exchange.parquet import VECTOR_PREFIX, require_pyarrow
from vicinal.exchange.spec import KEY, Field, Spec
from vicinal.values import encode_metadata, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from vicinal.collection import Collection
    from vicinal.request import Include
    from vicinal.results import Row, Rows

__all__ = ["export_jsonl", "export_parquet", "write_jsonl"]

BATCH_ROWS = 1000
PARQUET_ROWS = 10_000
Where = Any  # a filter in any of its three spellings


def export_jsonl(
    collection: Collection,
    path: Path,
    *,
    where: Where = None,
    vectors: bool = True,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the rows to a `.jsonl` file and return their number.

    `progress` gets the number of rows written. Raises AlreadyExists unless `overwrite` is set.
    """
    with (
        _replacing(path, overwrite=overwrite) as part,
        part.open("w", encoding="utf-8", newline="\n") as file,
    ):
        return write_jsonl(collection, file, where=where, vectors=vectors, progress=progress)


def write_jsonl(
    collection: Collection,
    file: IO[str],
    *,
    where: Where = None,
    vectors: bool = True,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the header and one line per row to an open text file; return the number of rows."""
    spec = Spec.of(collection, has_vectors=vectors)
    file.write(_json({KEY: spec.to_dict()}) + "\n")
    n_rows = 0
    for rows in _pages(collection, where, BATCH_ROWS, vectors=vectors):
        file.writelines(_line(row, spec) + "\n" for row in rows)
        n_rows += len(rows)
        if progress:
            progress(n_rows)
    return n_rows


def _pages(collection: Collection, where: Where, size: int, *, vectors: bool) -> Iterator[Rows]:
    include: tuple[Include, ...] = ("document", "metadata", "expires")
    return collection.iterate(where=where, batch_size=size, include=(*include, "vector") if vectors else include)


def _line(row: Row, spec: Spec) -> str:
    parts = [f'"id":{_json(row.id)}']
    if row.document is not None:
        parts.append(f'"document":{_json(row.document)}')
    if row.metadata:
        parts.append(f'"metadata":{encode_metadata(row.metadata, "metadata")}')
    if row.expires is not None:
        parts.append(f'"{EXPIRES}":{_json({"$date": to_microseconds(row.expires, EXPIRES)})}')
    if row.vectors:
        written = {name: _vector(array, spec.fields[name]) for name, array in row.vectors.items()}
        parts.append(f'"{VECTORS}":{_json(written)}')
    return "{" + ",".join(parts) + "}"


def _vector(array: NDArray[np.generic], entry: Field) -> object:
    if entry.dtype == "bit":
        return np.asarray(array, np.uint8).tobytes().hex()
    return array.astype(np.float64).tolist() if array.dtype.kind == "f" else array.tolist()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def export_parquet(
    collection: Collection,
    path: Path,
    *,
    where: Where = None,
    vectors: bool = True,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the rows to a `.parquet` file and return their number.

    Columns: `id`, `document`, `metadata` (JSON text), `expires`, and `vector:<field>` as lists of the stored type; bits
    are packed, eight to a byte. Raises MissingExtra without pyarrow, AlreadyExists unless `overwrite` is set.
    """
    pa, pq = require_pyarrow()
    spec = Spec.of(collection, has_vectors=vectors)
    schema = _schema(pa, spec, vectors=vectors)
    n_rows = 0
    with (
        _replacing(path, overwrite=overwrite) as part,
        pq.ParquetWriter(part, schema, compression="zstd") as writer,
    ):
        for rows in _pages(collection, where, PARQUET_ROWS, vectors=vectors):
            writer.write_batch(_record(pa, schema, rows, spec))
            n_rows += len(rows)
            if progress:
                progress(n_rows)
    return n_rows


def _schema(pa: Any, spec: Spec, *, vectors: bool) -> Any:  # noqa: ANN401 - pyarrow has no types
    numbers = {"f32": pa.float32(), "f16": pa.float16(), "i8": pa.int8(), "bit": pa.uint8()}
    fields = [
        ("id", pa.int64() if spec.id_type == "int" else pa.string()),
        ("document", pa.string()),
        ("metadata", pa.string()),
        (EXPIRES, pa.timestamp("us", tz="UTC")),
    ]
    if vectors:
        fields += [(f"{VECTOR_PREFIX}{name}", pa.list_(numbers[entry.dtype])) for name, entry in spec.fields.items()]
    return pa.schema(fields, metadata={KEY: _json(spec.to_dict())})


def _record(pa: Any, schema: Any, rows: Rows, spec: Spec) -> Any:  # noqa: ANN401
    columns = {
        "id": rows.ids,
        "document": rows.documents or [None] * len(rows),
        "metadata": [encode_metadata(entry, "metadata") if entry else None for entry in rows.metadata or ()],
        EXPIRES: rows.expires or [None] * len(rows),
    }
    arrays = [pa.array(columns[name], schema.field(name).type) for name in columns]
    for name in [name for name in spec.fields if f"{VECTOR_PREFIX}{name}" in schema.names]:
        kind = schema.field(f"{VECTOR_PREFIX}{name}").type
        found: list[NDArray[np.generic] | None] = [row.get(name) for row in rows.vectors or ()]
        arrays.append(_lists(pa, kind, found))
    return pa.record_batch(arrays, schema=schema)


def _lists(pa: Any, kind: Any, vectors: list[NDArray[np.generic] | None]) -> Any:  # noqa: ANN401
    """Return a list column; rows without a vector are null."""
    present = [vector for vector in vectors if vector is not None]
    flat = np.concatenate(present) if present else np.empty(0, np.float32)
    lengths = [0 if vector is None else len(vector) for vector in vectors]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    missing = pa.array([vector is None for vector in vectors])
    values = pa.array(flat).cast(kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind, mask=missing)


@contextlib.contextmanager
def _replacing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a name to write to; on success the file takes the place of `path`, else it goes."""
    if path.exists() and not overwrite:
        message = f"{str(path)!r} exists already; choose another name, or overwrite it on purpose"
        raise AlreadyExists(message)
    if not path.parent.is_dir():
        message = f"no folder {str(path.parent)!r} to write {path.name} into"
        raise NotFound(message)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if isinstance(error, VicinalError):
            raise
        kind = StorageFull if error.errno in (28, 122) else StorageError
        message = f"cannot write {path.name}: {error.strerror or error}"
        raise kind(message) from error
    finally:
        part.unlink(missing_ok=True)
