"""Lines of text files, plain or gzip, with their numbers and bounded length."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from vicinal.errors import InvalidInput, NotFound, StorageError
from vicinal.settings import MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["GZIP_MAGIC", "Line", "read_head", "read_lines"]

GZIP_MAGIC = b"\x1f\x8b"
MAX_LINE_BYTES = 2 * MAX_DOCUMENT_BYTES
HEAD_BYTES = 4096


class Line(NamedTuple):
    """One line with its end; `done` is how much of the file has been read, from 0 to 1."""

    number: int
    text: str
    n_bytes: int
    done: float


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield the file as stored and as text bytes; they differ for gzip. Failures become our own."""
    try:
        with path.open("rb") as raw:
            magic = raw.read(2)
            raw.seek(0)
            if magic == GZIP_MAGIC:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield raw, cast("IO[bytes]", unpacked)
            else:
                yield raw, raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"{path.name} is a damaged gzip file: {error}"
        raise InvalidInput(message) from error
    except FileNotFoundError as error:
        message = f"no file {str(path)!r}"
        raise NotFound(message) from error
    except OSError as error:
        message = f"cannot read {path.name}: {error.strerror or error}"
        raise StorageError(message) from error


def read_head(path: Path) -> bytes:
    """Return the first few kilobytes, unpacked."""
    with _opened(path) as (_, content):
        return content.read(HEAD_BYTES)


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of an UTF-8 file. Raises InvalidInput with the number of a line that is not text."""
    with _opened(path) as (raw, content):
        total = max(1, path.stat().st_size)
        number = 0
        while data := content.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(data) > MAX_LINE_BYTES:
                message = f"{path.name}, line {number}: longer than {MAX_LINE_BYTES:,} bytes"
                raise InvalidInput(message)
            try:
                text = data.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                message = f"{path.name}, line {number}: not UTF-8 (byte {error.start + 1}: 0x{data[error.start]:02x})"
                raise InvalidInput(message) from None
            yield Line(number, text, len(data), min(1.0, raw.tell() / total))
