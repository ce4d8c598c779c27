"""From a path to the reader for what is there: the name proposes, the content decides."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from vicinal.errors import InvalidInput, NotFound
from vicinal.exchange.archive import NumpyArchive
from vicinal.exchange.arrays import NumpyArray, VectorRecords
from vicinal.exchange.columns import Columns
from vicinal.exchange.delimited import Delimited
from vicinal.exchange.folder import TEXT_SUFFIXES, TextFiles
from vicinal.exchange.jsonl import JsonLines
from vicinal.exchange.lines import read_head
from vicinal.exchange.parquet import ParquetTable

if TYPE_CHECKING:
    from pathlib import Path

    from vicinal.exchange.batch import Source

__all__ = ["FORMATS", "close_name", "open_source"]

FORMATS: Final = ("jsonl", "csv", "tsv", "parquet", "npy", "npz", "fvecs", "bvecs", "ivecs", "text")

_SUFFIXES: Final = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".npy": "npy",
    ".npz": "npz", ".fvecs": "fvecs", ".bvecs": "bvecs", ".ivecs": "ivecs", **dict.fromkeys(TEXT_SUFFIXES, "text"),
}  # fmt: skip
_MAGIC: Final = {
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
    b"PAR1": "parquet",
    b"SQLite format 3\0": "an SQLite database",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
}
_HEADERLESS: Final = {"fvecs", "bvecs", "ivecs"}


def open_source(
    path: Path,
    *,
    columns: Columns | None = None,
    file_format: str | None = None,
    number: bool = False,
) -> Source:
    """Return a reader for a file or a folder of text files.

    `file_format` overrides the name's ending. `number` makes the position of a row, from 0, the id of a file
    of bare vectors. Raises NotFound naming a similar file, and InvalidInput for what cannot be read.
    """
    columns = columns or Columns()
    if not path.exists():
        close = close_name(path, {*_SUFFIXES, ".gz"})
        hint = f"; did you mean {close!r}?" if close else ""
        message = f"no file or folder {str(path)!r}{hint}"
        raise NotFound(message)
    if file_format is not None and file_format not in FORMATS:
        message = f"format {file_format!r} is not one of {', '.join(FORMATS)}"
        raise InvalidInput(message)
    kind = "text" if path.is_dir() else _kind(path, file_format)
    if kind in ("npy", "npz", *_HEADERLESS, "text") and _named(columns, kind):
        message = f"{path.name}: a file of this kind has no columns to choose"
        raise InvalidInput(message)
    match kind:
        case "jsonl":
            return JsonLines(path, columns)
        case "csv" | "tsv":
            return Delimited(path, columns, delimiter="\t" if kind == "tsv" else None)
        case "parquet":
            return ParquetTable(path, columns)
        case "npy":
            return NumpyArray(path, number=number)
        case "npz":
            return NumpyArchive(path, columns, number=number)
        case "text":
            return TextFiles(path)
    return VectorRecords(path, number=number, suffix=f".{kind}")


def _named(columns: Columns, kind: str) -> bool:
    return kind != "npz" and columns != Columns()


def _kind(path: Path, given: str | None) -> str:
    """Return the format by name, after a look at the content."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    named = given or _SUFFIXES.get(suffix)
    head = read_head(path)
    found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if found in FORMATS and (named is None or named == found):
        return found
    if found is not None and named not in _HEADERLESS:
        message = f"{path.name} is {found if ' ' in found else f'a .{found} file'}" + (
            f", not .{named}" if named else ", which cannot be imported"
        )
        raise InvalidInput(message)
    opening = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if named == "jsonl" and opening not in (b"{", b""):
        what = "a JSON array: write one object per line" if opening == b"[" else "no JSON objects, one per line"
        message = f"{path.name} holds {what}"
        raise InvalidInput(message)
    if named in ("npy", "npz", "parquet"):
        message = f"{path.name} is not .{named}: it begins with {head[:8]!r}"
        raise InvalidInput(message)
    if named is None and opening == b"{":
        named = "jsonl"
    if named is None:
        message = f"cannot tell the format of {path.name}; give one of {', '.join(FORMATS)}"
        raise InvalidInput(message)
    return named


def close_name(path: Path, suffixes: set[str]) -> str | None:
    """Return the name of the file in the same folder that was probably meant, if there is one."""
    try:
        names = [file.name for file in path.parent.iterdir() if file.suffix.lower() in suffixes]
    except OSError:
        return None
    found = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return str(path.parent / found[0]) if found else None
