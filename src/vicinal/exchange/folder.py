"""Reading text files, one or a folder of them, as passages.

An id is `<path>#<number>`, so that importing a changed file again replaces what it replaced before.
Metadata: `path` (relative, with slashes), `title` (nearest heading, else the file's name), `passage` (from 1).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vicinal.errors import InvalidInput, NotFound, StorageError
from vicinal.exchange.gather import Gathering, OneRow
from vicinal.exchange.passages import passages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vicinal.exchange.batch import Batch

__all__ = ["TEXT_SUFFIXES", "TextFiles"]

TEXT_SUFFIXES: Final = frozenset({".markdown", ".md", ".rst", ".text", ".txt"})
MAX_FILE_BYTES: Final = 64 * 1024 * 1024


class TextFiles:
    """A text file, or all `.txt`, `.md` and `.rst` files below a folder.

    Hidden files and folders and symbolic links are left out.
    """

    spec = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = [path] if path.is_file() else sorted(_text_files(path))
        if not self.files:
            endings = ", ".join(sorted(TEXT_SUFFIXES))
            message = f"no text files below {str(path)!r}; their names end in {endings}"
            raise NotFound(message)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the passages, at most `size` at a time."""
        gathering = Gathering(size, self.path.name, "passage")
        n_rows = 0
        for n_read, file in enumerate(self.files):
            name = file.relative_to(self.path).as_posix() if file != self.path else file.name
            for number, passage in enumerate(passages(_read(file, name)), 1):
                n_rows += 1
                metadata: dict[str, object] = {
                    "path": name, "title": passage.title or file.stem, "passage": number
                }  # fmt: skip
                gathering.add(
                    OneRow(number=n_rows, id=f"{name}#{number}", document=passage.text, metadata=metadata),
                    len(passage.text),
                )
                if gathering.full:
                    yield gathering.take(n_read / len(self.files))
        if len(gathering):
            yield gathering.take(1.0)


def _text_files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        message = f"cannot read {error.filename}: {error.strerror}"
        raise StorageError(message) from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = type(folder)(parent, name)
            if file.suffix.lower() in TEXT_SUFFIXES and not name.startswith(".") and not file.is_symlink():
                yield file


def _read(file: Path, name: str) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        message = f"cannot read {name}: {error.strerror}"
        raise StorageError(message) from error
    if len(data) > MAX_FILE_BYTES:
        message = f"{name}: more than {MAX_FILE_BYTES:,} bytes of text"
        raise InvalidInput(message)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{name}, line {line}: not UTF-8 (0x{data[error.start]:02x})"
        raise InvalidInput(message) from None
    if "\0" in text:
        message = f"{name}: a NUL byte; this is not text"
        raise InvalidInput(message)
    return text
