"""Reading Parquet, in batches and only the columns that are wanted.

Times without a zone count as UTC; NaN and null are missing values. Needs `vicinal[parquet]`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vicinal.errors import InvalidInput, InvalidVector, MissingExtra, NotFound, shorten
from vicinal.exchange.batch import ONLY, Batch, VectorColumn
from vicinal.exchange.columns import METADATA, Columns, Roles
from vicinal.exchange.jsonl import EXPIRES
from vicinal.exchange.spec import KEY, Spec
from vicinal.values import decode_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

__all__ = ["VECTOR_PREFIX", "ParquetTable", "require_pyarrow"]

VECTOR_PREFIX = "vector:"
"""Begins the name of a vector column in an export; the name of the field follows."""


def require_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Return pyarrow and pyarrow.parquet. Raises MissingExtra with the line that installs them."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional dependency
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise MissingExtra.of("Parquet", "parquet") from None
    return pa, pq


class ParquetTable:
    """A `.parquet` file."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._pa, self._pq = require_pyarrow()
        with self._opened() as file:
            schema = file.schema_arrow
            header = (schema.metadata or {}).get(KEY.encode())
            self.names = list(schema.names)
        self.spec = self._parse_header(header) if header is not None else None
        self.roles = columns.roles(self.names, path.name) if self.spec is None else _exported_roles()

    def _parse_header(self, header: bytes) -> Spec:
        try:
            value = json.loads(header)
        except ValueError:
            value = header
        return Spec.from_dict(value, self.path.name)

    def _opened(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        try:
            # Buffering ahead, which is the default, would take the whole file into memory.
            return self._pq.ParquetFile(self.path, pre_buffer=False)
        except FileNotFoundError:
            message = f"no file {str(self.path)!r}"
            raise NotFound(message) from None
        except (self._pa.ArrowException, OSError) as error:
            message = f"{self.path.name} is not a whole Parquet file: {_first_line(error)}"
            raise InvalidInput(message) from error

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows, at most `size` at a time."""
        roles = self.roles
        used = {roles.id, *roles.text, roles.vector, *roles.metadata}
        if self.spec is not None:
            used |= {EXPIRES, *(name for name in self.names if name.startswith(VECTOR_PREFIX))}
        wanted = [name for name in self.names if name in used]
        start = 0
        with self._opened() as file:
            total = max(1, file.metadata.num_rows)
            records = file.iter_batches(batch_size=size, columns=wanted)
            while (record := self._next(records)) is not None:
                table = {name: record.column(name) for name in record.schema.names}
                yield self._batch(table, start, start + record.num_rows, total)
                start += record.num_rows

    def _next(self, records: Any) -> Any:  # noqa: ANN401
        try:
            return next(records, None)
        except (self._pa.ArrowException, OSError) as error:
            message = f"{self.path.name}: damaged: {_first_line(error)}"
            raise InvalidInput(message) from error

    def _batch(self, table: dict[str, Any], start: int, stop: int, total: int) -> Batch:
        vectors: dict[str, VectorColumn] = {}
        for name in [name for name in table if name == self.roles.vector or self._is_field(name)]:
            field = name.removeprefix(VECTOR_PREFIX) if self.spec else ONLY
            vectors[field] = self._vectors(table.pop(name), f"{self.path.name}, column {shorten(name)}", start)
        plain = {name: self._values(column, name, start) for name, column in table.items()}
        expires = plain.pop(EXPIRES) if self.spec and EXPIRES in plain else None
        where = f"{self.path.name}, rows {start + 1} to {stop}"
        rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
        return Batch(
            numbers=range(start + 1, stop + 1),
            ids=cast("Any", plain.get(self.roles.id)) if self.roles.id else None,
            vectors=vectors or None,
            documents=self._documents(rows, plain, where),
            metadata=self._metadata(rows, plain),
            expires=cast("list[datetime | None] | None", expires),
            done=stop / total,
        )

    def _is_field(self, name: str) -> bool:
        return self.spec is not None and name.startswith(VECTOR_PREFIX)

    def _documents(
        self, rows: list[dict[str, object]], plain: dict[str, list[object]], where: str
    ) -> list[str | None] | None:
        if self.spec is not None:
            return cast("list[str | None]", plain["document"])
        return [self.roles.document(row, where) for row in rows] if self.roles.text else None

    def _metadata(
        self, rows: list[dict[str, object]], plain: dict[str, list[object]]
    ) -> list[dict[str, object]] | None:
        if self.spec is not None:
            return [decode_metadata(cast("str | None", text)) for text in plain[METADATA]]
        return [self.roles.properties(row) for row in rows] if self.roles.metadata else None

    def _vectors(self, column: Any, where: str, start: int) -> VectorColumn:  # noqa: ANN401
        """Return an array where every row has a vector of one length, else a list."""
        kind = column.type
        types = self._pa.types
        if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
            message = f"{where}: a vector is a list of numbers, not {kind}"
            raise InvalidVector(message)
        if not (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
            message = f"{where}: a vector is a list of numbers, not of {kind.value_type}"
            raise InvalidVector(message)
        flat = column.flatten()
        if flat.null_count:
            bad = next(at for at, row in enumerate(column.to_pylist()) if row is not None and None in row)
            message = f"{where}, row {start + bad + 1}: null inside of a vector"
            raise InvalidVector(message)
        numbers = flat.to_numpy(zero_copy_only=False)
        lengths = np.unique(column.value_lengths().drop_null().to_numpy(zero_copy_only=False))
        if not column.null_count and len(lengths) == 1:
            return np.array(numbers).reshape(len(column), int(lengths[0]))
        ends = np.cumsum(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)).tolist()
        valid = column.is_valid().to_pylist()
        starts = [0, *ends[:-1]]
        return [
            np.array(numbers[begin:end]) if there else None
            for begin, end, there in zip(starts, ends, valid, strict=True)
        ]

    def _values(self, column: Any, name: str, start: int) -> list[object]:  # noqa: ANN401
        kind = column.type
        if self._pa.types.is_timestamp(kind):
            exact = column.cast(self._pa.timestamp("us", tz=kind.tz), safe=False).cast("int64").to_pylist()
            return [None if stamp is None else _moment(stamp, self.path.name, name) for stamp in exact]
        try:
            values: list[object] = column.to_pylist()
        except (self._pa.ArrowException, ValueError, OverflowError) as error:
            message = f"{self.path.name}, rows {start + 1} and later, column {shorten(name)}: {_first_line(error)}"
            raise InvalidInput(message) from error
        if self._pa.types.is_floating(kind):
            return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN alone differs from itself
        if self._pa.types.is_date(kind):
            return [None if value is None else str(value) for value in values]
        return values


def _moment(stamp: int, file: str, name: str) -> datetime:
    try:
        return datetime.fromtimestamp(stamp // 1_000_000, UTC).replace(microsecond=stamp % 1_000_000)
    except (OverflowError, ValueError, OSError):
        message = f"{file}, column {shorten(name)}: {stamp} microseconds lie outside of the years 1 to 9999"
        raise InvalidInput(message) from None


def _exported_roles() -> Roles:
    return Roles(id="id", text=("document",), vector=None, metadata=(METADATA,))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
