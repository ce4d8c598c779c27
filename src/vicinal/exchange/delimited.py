"""Reading CSV and TSV: a header line, then one row per record.

A column is of whole numbers, numbers, booleans or text, decided by reading the file once before: a column
is never partly one and partly the other. An empty cell is a missing value, and so is NaN among numbers.
Digits that would change as a number, such as a postal code "01234", make a column of text.
"""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Final

from vicinal.errors import InvalidInput, shorten
from vicinal.exchange.batch import ONLY
from vicinal.exchange.gather import Gathering, OneRow
from vicinal.exchange.lines import Line, read_lines
from vicinal.settings import MAX_DOCUMENT_BYTES
from vicinal.values import INT64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vicinal.exchange.batch import Batch
    from vicinal.exchange.columns import Columns, Roles

__all__ = ["Delimited"]

_INT: Final = re.compile(r"-?(0|[1-9]\d{0,18})")
_FLOAT: Final = re.compile(r"-?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d{1,3})?")
_BOOLEANS: Final = {"true": True, "false": False}


class Delimited:
    """A `.csv` or `.tsv` file, possibly gzip."""

    spec = None

    def __init__(self, path: Path, columns: Columns, *, delimiter: str | None = None) -> None:
        self.path = path
        self.columns = columns
        self.delimiter = delimiter or _delimiter(path)
        self._converters: dict[str, Callable[[str], object]] | None = None
        # The limit belongs to the process and is too small for a vector; it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_DOCUMENT_BYTES))

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows, at most `size` at a time. Raises InvalidInput naming a line that is not one."""
        gathering = Gathering(size, self.path.name, "line")
        roles: Roles | None = None
        for line, values in self._records():
            if roles is None:
                roles = self.columns.roles(tuple(values), self.path.name)
                self._converters = self._kinds(roles) if self._converters is None else self._converters
            gathering.add(self._row(line.number, values, roles), sum(map(len, values.values())))
            if gathering.full:
                yield gathering.take(line.done)
        if len(gathering):
            yield gathering.take(1.0)

    def _row(self, number: int, cells: dict[str, str], roles: Roles) -> OneRow:
        where = f"{self.path.name}, line {number}"
        convert = self._converters or {}
        values: dict[str, object] = {
            name: convert[name](cell) if name in convert else cell for name, cell in cells.items() if cell
        }
        vectors: dict[str, object] = {}
        if roles.vector and roles.vector in values:
            vectors[ONLY] = _vector(cells[roles.vector], f"{where}, column {shorten(roles.vector)}")
        return OneRow(
            number=number,
            id=values.get(roles.id) if roles.id else None,
            document=roles.document(values, where),
            metadata=roles.properties(values),
            vectors=vectors,
        )

    def _records(self) -> Iterator[tuple[Line, dict[str, str]]]:
        """Yield each record by column name, with the line where it ends."""
        last = Line(0, "", 0, 0.0)

        def texts() -> Iterator[str]:
            nonlocal last
            for last in read_lines(self.path):
                if "\0" in last.text:
                    message = f"{self.path.name}, line {last.number}: a NUL byte; this is not text"
                    raise InvalidInput(message)
                yield last.text

        reader = csv.reader(texts(), delimiter=self.delimiter, strict=True)
        names: list[str] | None = None
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                message = f"{self.path.name}, line {last.number}: {error}"
                raise InvalidInput(message) from None
            if cells is None:
                return
            if not cells:
                continue
            if names is None:
                names = self._names(cells)
            elif len(cells) != len(names):
                message = f"{self.path.name}, line {last.number}: {len(cells)} cells, the header has {len(names)}"
                raise InvalidInput(message)
            else:
                yield last, dict(zip(names, cells, strict=True))

    def _names(self, cells: list[str]) -> list[str]:
        names = [cell.strip() or f"column_{position}" for position, cell in enumerate(cells, 1)]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            message = f"{self.path.name}, line 1: the column {shorten(repeated)} stands twice in the header"
            raise InvalidInput(message)
        return names

    def _kinds(self, roles: Roles) -> dict[str, Callable[[str], object]]:
        """Return a converter for each column that is not text. Cost: one pass over the file."""
        text = {*roles.text, roles.vector}
        open_kinds = {name: _Kind() for name in (roles.id, *roles.metadata) if name and name not in text}
        for _, cells in self._records():
            for name in [name for name, kind in open_kinds.items() if not kind.saw(cells[name])]:
                del open_kinds[name]
        found = {name: converter for name, kind in open_kinds.items() if (converter := kind.converter())}
        if roles.id and found.get(roles.id) is not int:
            found.pop(roles.id, None)
        return found


def _delimiter(path: Path) -> str:
    """Return the most frequent separator of the header: comma, semicolon or tab."""
    first = next((line.text for line in read_lines(path)), "")
    return max(",;\t", key=first.count)


class _Kind:
    """What a column can still be, after the cells seen so far."""

    __slots__ = ("boolean", "integer", "number", "seen")

    def __init__(self) -> None:
        self.integer = self.number = self.boolean = True
        self.seen = False

    def saw(self, cell: str) -> bool:
        """Take one cell into account; return False once the column can only be text."""
        if not cell:
            return True
        self.seen = True
        if self.integer and not (_INT.fullmatch(cell) and int(cell) in INT64):
            self.integer = False
        if self.number and not (_is_nan(cell) or (_FLOAT.fullmatch(cell) and any(map(str.isdigit, cell)))):
            self.number = False
        if self.boolean and cell.lower() not in _BOOLEANS:
            self.boolean = False
        return self.integer or self.number or self.boolean

    def converter(self) -> Callable[[str], object] | None:
        if not self.seen:
            return None
        return int if self.integer else _number if self.number else _boolean


def _is_nan(cell: str) -> bool:
    return cell.lower() == "nan"


def _number(cell: str) -> float | None:
    return None if _is_nan(cell) else float(cell)


def _boolean(cell: str) -> bool:
    return _BOOLEANS[cell.lower()]


def _vector(cell: str, where: str) -> object:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        message = f"{where}: a vector is written as [0.1, 0.2, …], not {shorten(cell)}"
        raise InvalidInput(message) from None
