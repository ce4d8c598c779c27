"""The rows of a collection in memory, and their metadata as columns: what filters run on."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from vicinal.engine.growing import Growing, renewed
from vicinal.errors import Corrupted
from vicinal.filters import MISSING, Column
from vicinal.storage import rows
from vicinal.storage.schema import BLOCK_ROWS
from vicinal.values import from_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from vicinal.storage.session import Session

_MUCH_DEAD: Final = 0.5
_FEW: Final = 4096
_READ_ROWS: Final = 8192
_READ_AHEAD: Final = 3
_ALIKE: Final = 8
"""If lists are met so often each, on average, only the distinct ones are parsed."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowMap:
    """Positions 0..n-1 in the order of row numbers. numbers: int64, ascending. existing: bool."""

    numbers: Growing[np.int64]
    existing: Growing[np.bool_]
    n_rows: int

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Whether the row of each position is there."""
        return self.existing.view

    def __len__(self) -> int:
        return self.numbers.length

    def positions(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of row numbers that the map holds."""
        known = self.numbers.view
        if len(known) and int(known[-1]) - int(known[0]) + 1 == len(known):
            return numbers - int(known[0])
        return np.searchsorted(known, numbers)


def load(session: Session, collection: int) -> RowMap:
    """Read the numbers of all rows. Cost: about 50 ms per million."""
    numbers = rows.numbers(session, collection)
    return RowMap(Growing.of(numbers), Growing.of(np.ones(len(numbers), np.bool_)), len(numbers))


def refresh(old: RowMap, version: int, session: Session, collection: int) -> RowMap | None:
    """Return `old`, made at `version`, brought up to the session's snapshot; None to load anew."""
    blocks = rows.changed_blocks(session, collection, version)
    numbers = old.numbers
    seen, tail, known = {}, [], numbers.view
    last = int(known[-1]) if len(known) else -1
    for low, high in _ranges(blocks):
        found = rows.numbers(session, collection, low, high)
        start, end = (int(at) for at in np.searchsorted(known, (low, high)))
        seen[start, end] = np.isin(known[start:end], found, assume_unique=True)
        fresh = found[found > last]
        if len(fresh):
            numbers = numbers.appended(fresh)
            tail.append(np.ones(len(fresh), np.bool_))
    existing, gained = renewed(old.existing, seen, tail)
    if existing.length > _FEW and old.n_rows + gained < _MUCH_DEAD * existing.length:
        return None
    return RowMap(numbers, existing, old.n_rows + gained)


def _ranges(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Return row ranges [low, high) that cover ascending block numbers, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for block in blocks:
        low, high = block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS
        if ranges and ranges[-1][1] == low:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
    return ranges


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """One metadata field of all rows of a map, aligned to its positions; `numbers` are the map's."""

    numbers: Growing[np.int64]
    column: Column

    def fits(self, row_map: RowMap) -> bool:
        """Return whether the column is aligned to this map."""
        return len(self.column) == len(row_map) and self.numbers.agrees(row_map.numbers, len(row_map))


def load_column(session: Session, collection: int, row_map: RowMap, path: Path) -> FieldColumn:
    """Read one field from the JSON of all rows. Cost: about 0.4 µs per row."""
    known = row_map.numbers.view
    if row_map.n_rows < len(row_map):
        blank = FieldColumn(row_map.numbers, Column.from_values([MISSING] * len(known)))
        return _patched(blank, session, collection, row_map, path, np.unique(known // BLOCK_ROWS).tolist())
    column = Column.from_values([])
    if len(known):
        texts = rows.field_texts(session, collection, int(known[0]), int(known[-1]) + 1, path, _READ_ROWS)
        for text in _read_ahead(texts) if len(known) > _READ_ROWS else texts:
            column = _extended(column, text)  # piece by piece, so that few Python objects live at once
    _check_length(len(column), len(known))
    return FieldColumn(row_map.numbers, column)


def _extended(column: Column, text: str) -> Column:
    repeated = _repeated_lists(text)
    return column.extended(_parsed(text)) if repeated is None else column.extended_by(*repeated)


def _repeated_lists(text: str) -> tuple[list[object], NDArray[np.int64]] | None:
    """Return the distinct lists of a JSON array of lists, and which of them each of its places holds.

    None where few are alike, or where they cannot be told apart by their text. That is cut between the lists,
    rightly if each piece is by itself what a list may hold: a cut within a string leaves a quote without its
    like, one within a nested list a bracket.
    """
    if "{" in text or not (text.startswith("[[") and text.endswith("]]")):
        return None
    pieces = text[2:-2].split("],[")
    numbered: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    places = np.fromiter(map(numbered.__getitem__, pieces), np.int64, len(pieces))
    if len(numbered) * _ALIKE > len(pieces):
        return None
    try:
        return [json.loads(f"[{piece}]") for piece in numbered], places
    except ValueError:
        return None


def _read_ahead(texts: Iterator[str]) -> Iterator[str]:
    """Yield the texts while another thread has SQLite make the next few.

    Few, not one: that thread can neither hand over a text nor begin another while this one parses.
    """
    with ThreadPoolExecutor(1, "vicinal-read") as beside:
        coming = deque(beside.submit(next, texts, None) for _ in range(_READ_AHEAD))
        while (text := coming.popleft().result()) is not None:
            coming.append(beside.submit(next, texts, None))
            yield text


def refresh_column(
    old: FieldColumn, version: int, session: Session, collection: int, row_map: RowMap, path: Path
) -> FieldColumn | None:
    """Return `old`, made at `version`, with the rows of changed blocks read again."""
    if not old.numbers.agrees(row_map.numbers, len(old.column)):
        return None
    blocks = rows.changed_blocks(session, collection, version)
    if len(blocks) * BLOCK_ROWS > len(row_map) // 2 + _FEW:
        return None
    return _patched(old, session, collection, row_map, path, blocks)


def _patched(
    old: FieldColumn, session: Session, collection: int, row_map: RowMap, path: Path, blocks: Sequence[int]
) -> FieldColumn:
    """Read the rows of `blocks` again; rows that are gone keep their old value, which nobody asks for."""
    known = row_map.numbers.view
    n_old = len(old.column)
    positions: list[NDArray[np.int64]] = []
    values: list[object] = []
    for low, high in _ranges(blocks):
        start, end = (int(at) for at in np.searchsorted(known, (low, high)))
        positions.append(start + np.flatnonzero(row_map.exists[start:end]))
        values += read_values(session, collection, low, high, path)
    at = np.concatenate(positions) if positions else np.empty(0, np.int64)
    _check_length(len(values), len(at))
    split = int(np.searchsorted(at, n_old))
    column = old.column.patched(at[:split], values[:split]) if split else old.column
    if len(known) > n_old:
        fresh: list[object] = [MISSING] * (len(known) - n_old)
        for position, value in zip(at[split:].tolist(), values[split:], strict=True):
            fresh[position - n_old] = value
        column = column.extended(fresh)
    return FieldColumn(row_map.numbers, column)


def _check_length(found: int, expected: int) -> None:
    if found != expected:
        message = f"{found} values for {expected} rows: the table of rows is damaged; run: vicinal verify"
        raise Corrupted(message)


def read_values(session: Session, collection: int, low: int, high: int, path: Path) -> list[object]:
    """Return one field of the existing rows numbered [low, high), MISSING where a row has none.

    SQLite takes the field out of the JSON and joins a whole block, so that it is parsed at once.
    """
    texts = rows.field_texts(session, collection, low, high, path, _READ_ROWS)
    values: list[object] = []
    for text in texts:
        values += _parsed(text)
    return values


def _parsed(text: str) -> list[object]:
    return cast("list[object]", json.loads(text, object_hook=_hook) if "{" in text else json.loads(text))


def _hook(found: dict[str, object]) -> object:
    if len(found) == 1:
        if "$" in found:
            return MISSING
        if type(found.get("$date")) is int:
            return from_microseconds(cast("int", found["$date"]))
    return found
