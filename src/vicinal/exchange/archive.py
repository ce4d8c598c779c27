"""Reading `.npz`: several arrays of equal length as columns.

Each array is read as a stream, a batch of rows at a time, and nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from vicinal.errors import InvalidInput, InvalidVector, NotFound, shorten
from vicinal.exchange.arrays import numbered
from vicinal.exchange.batch import ONLY, Batch
from vicinal.exchange.columns import ID_NAMES, TEXT_NAMES, VECTOR_NAMES, Columns, Roles
from vicinal.values import from_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["NumpyArchive"]

# Savers of arrays like plurals.
PLURALS = {f"{name}s": name for name in (*ID_NAMES, *TEXT_NAMES, *VECTOR_NAMES)} | {"bodies": "body"}
MAX_DEFLATE_RATIO = 1032


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One array: where it is in the archive, and what its header says."""

    file: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


class NumpyArchive:
    """A `.npz` file. Arrays have the conventional names, also in the plural, or `columns` names them.

    A single array is the vectors. Arrays of one dimension are metadata under their own names.
    """

    spec = None

    def __init__(self, path: Path, columns: Columns, *, number: bool = False) -> None:
        self.path = path
        self.number = number
        with self._opened() as archive:
            self.members = {
                info.filename.removesuffix(".npy"): self._member(archive, info) for info in archive.infolist()
            }
        names = {PLURALS.get(name, name): name for name in self.members}
        if len(self.members) == 1 and columns == Columns():
            columns = Columns(vector=next(iter(names)))
        exact = Columns(
            id=_plain(columns.id), text=tuple(map(_required, columns.text)), vector=_plain(columns.vector),
            metadata=columns.metadata,
        )  # fmt: skip
        self.names = names
        self.roles = exact.roles(tuple(names), path.name)
        self.rows = self._checked(self.roles)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except FileNotFoundError:
            message = f"no file {str(self.path)!r}"
            raise NotFound(message) from None
        except InvalidInput:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            message = f"{self.path.name} is not a whole .npz file: {error}"
            raise InvalidInput(message) from error

    def _member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
        where = f"{self.path.name}, array {shorten(info.filename)}"
        if info.file_size > max(info.compress_size, 1) * MAX_DEFLATE_RATIO:
            message = f"{where}: {info.file_size:,} bytes cannot have been packed into {info.compress_size:,}"
            raise InvalidInput(message)
        with archive.open(info) as stream:
            shape, fortran, dtype, header_bytes = _header(stream)
        if dtype.hasobject or dtype.kind not in "fiubUM":
            message = f"{where}: numbers or text are wanted, not {dtype}"
            raise InvalidInput(message)
        wanted = header_bytes + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if wanted != info.file_size:
            message = f"{where}: {wanted:,} bytes are announced, {info.file_size:,} are there"
            raise InvalidInput(message)
        return _Member(file=info.filename, shape=shape, dtype=dtype, fortran=fortran and len(shape) > 1)

    def _checked(self, roles: Roles) -> int:
        """Return the number of rows, on which all columns that are used agree."""
        used = [name for name in (roles.id, *roles.text, roles.vector, *roles.metadata) if name]
        shapes = {name: self.members[self.names[name]].shape for name in used}
        rows = next((shape[0] for shape in shapes.values() if shape), 0)
        for name, shape in shapes.items():
            if len(shape) != (2 if name == roles.vector else 1) or shape[0] != rows:
                expected = "(rows, dim)" if name == roles.vector else f"({rows},)"
                message = (
                    f"{self.path.name}, array {shorten(name)}: expected shape {expected}, got {shape}; "
                    "choose arrays by naming the id, text, vector and metadata columns"
                )
                raise InvalidVector(message)
        return rows

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows, at most `size` at a time."""
        roles = self.roles
        used = [name for name in (roles.id, *roles.text, roles.vector, *roles.metadata) if name]
        with self._opened() as archive, contextlib.ExitStack() as stack:
            readers = {name: _rows(archive, self.members[self.names[name]], size, stack) for name in used}
            for start in range(0, self.rows, size):
                stop = min(start + size, self.rows)
                columns = {name: next(reader) for name, reader in readers.items()}
                yield self._batch(columns, start, stop)

    def _batch(self, columns: dict[str, NDArray[Any]], start: int, stop: int) -> Batch:
        roles = self.roles
        plain = {name: _values(array) for name, array in columns.items() if name != roles.vector}
        where = self.path.name
        rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
        return Batch(
            numbers=range(start + 1, stop + 1),
            ids=cast("Any", plain[roles.id]) if roles.id else numbered(start, stop, number=self.number),
            vectors={ONLY: columns[roles.vector]} if roles.vector else None,
            documents=[roles.document(row, where) for row in rows] if roles.text else None,
            metadata=[roles.properties(row) for row in rows] if roles.metadata else None,
            done=stop / self.rows,
        )


def _plain(name: str | None) -> str | None:
    return PLURALS.get(name, name) if name else None


def _required(name: str) -> str:
    return PLURALS.get(name, name)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        message = f"version {version} of the array format"
        raise ValueError(message)
    return shape, fortran, dtype, stream.tell()


def _rows(archive: zipfile.ZipFile, member: _Member, size: int, stack: contextlib.ExitStack) -> Iterator[NDArray[Any]]:
    stream = stack.enter_context(archive.open(member.file))
    if member.fortran:  # column by column in the file: there is no reading it by rows
        whole = np.lib.format.read_array(stream, allow_pickle=False)
        for start in range(0, len(whole), size):
            yield np.ascontiguousarray(whole[start : start + size])
        return
    _header(stream)
    for start in range(0, member.shape[0], size):
        n = min(size, member.shape[0] - start)
        data = stream.read(n * member.row_bytes)
        if len(data) != n * member.row_bytes:
            raise EOFError(member.file)
        yield np.frombuffer(data, member.dtype).reshape(n, *member.shape[1:])


def _values(array: NDArray[Any]) -> list[object]:
    """Return Python values; NaN and NaT are missing, times count as UTC."""
    if array.dtype.kind == "M":
        missing = np.isnat(array)
        stamps = array.astype("M8[us]").astype(np.int64).tolist()
        return [
            None if gone else from_microseconds(stamp) for stamp, gone in zip(stamps, missing.tolist(), strict=True)
        ]
    values: list[object] = array.tolist()
    if array.dtype.kind == "f":
        return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN alone differs from itself
    return values
