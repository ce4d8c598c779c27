"""The ids of a collection's rows in memory, so that a search need not look into the file for them.

The id of a row number never changes: ids of new rows are read, those of rows that are gone stay unused.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from vicinal.engine.growing import Growing
from vicinal.errors import Corrupted
from vicinal.storage import rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.engine.view import View
    from vicinal.storage.session import Session
    from vicinal.values import Id

__all__ = ["IdMap", "hold", "ids_of"]

_KEY: Final = "ids"
_WORTHWHILE: Final = 1000
"""Of fewer rows, ids are looked up as fast in the file."""
_SHARE: Final = 1 / 16
"""Of the memory budget, the most that ids may take."""
_ROW_BYTES: Final = 40
_AT_ONCE: Final = 8192


@dataclass(frozen=True, slots=True)
class IdMap:
    """Ids by row number. numbers: int64, ascending. values: the ids, or where each ends in `text`, as UTF-8."""

    numbers: Growing[np.int64]
    values: Growing[np.int64]
    text: Growing[np.uint8] | None

    @classmethod
    def empty(cls, *, text: bool) -> IdMap:
        """Return the map of no rows."""
        nothing = Growing.of(np.empty(0, np.int64))
        return cls(nothing, Growing.of(np.empty(0, np.int64)), Growing.of(np.empty(0, np.uint8)) if text else None)

    def ids(self, numbers: NDArray[np.int64]) -> list[Id] | None:
        """Return the ids of row numbers, in their order; None where the map does not know them all."""
        at = self._places(numbers)
        if at is None:
            return None
        values = self.values.view
        if self.text is None:
            return cast("list[Id]", values[at].tolist())
        text, ends, starts = self.text.view, values[at].tolist(), values[at - 1].tolist()
        return [
            text[start if place else 0 : end].tobytes().decode()
            for place, start, end in zip(at.tolist(), starts, ends, strict=True)
        ]

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64] | None:
        known = self.numbers.view
        if not len(known) or not len(numbers):
            return None if len(numbers) else numbers
        first, last = int(known[0]), int(known[-1])
        if int(numbers.min()) < first or int(numbers.max()) > last:
            return None
        if last - first + 1 == len(known):  # no holes
            return numbers - first
        at = known.searchsorted(numbers)
        return at if (known[at] == numbers).all() else None

    def grown(self, session: Session, collection: int) -> IdMap:
        """Return the map with the rows behind its last one, as far as they are sound. Cost: 0.3 µs per row."""
        known, grown = self.numbers.view, self
        with suppress(Corrupted, ValueError):  # the file itself is asked for the rest, and says what is wrong
            found = rows.numbers(session, collection, int(known[-1]) + 1 if len(known) else 0)
            for start in range(0, len(found), _AT_ONCE):
                grown = grown._with(session, collection, found[start : start + _AT_ONCE])
        return grown

    def _with(self, session: Session, collection: int, numbers: NDArray[np.int64]) -> IdMap:
        separator = "," if self.text is None else ""
        joined, lengths = rows.joined_ids(session, collection, int(numbers[0]), int(numbers[-1]), separator)
        if self.text is None:
            values, text = _numbers_in(joined), None
        else:
            ends = np.cumsum(_numbers_in(lengths)) + self.text.length
            values, text = ends, self.text.appended(np.frombuffer(joined.encode(), np.uint8))
        if len(values) != len(numbers) or (text is not None and int(values[-1]) != text.length):
            message = "ids of rows are damaged; run: vicinal verify"
            raise Corrupted(message)
        return IdMap(self.numbers.appended(numbers), self.values.appended(values), text)


def _numbers_in(texts: str) -> NDArray[np.int64]:
    return np.array(texts.split(",") if texts else [], np.int64)


def _is_wanted(view: View) -> bool:
    n = view.record.next_row
    return _WORTHWHILE <= n <= view.parts.budget * _SHARE / _ROW_BYTES and view.parts.peek(view.record, _KEY) is None


def hold(view: View) -> None:
    """Take all ids into memory that may be there, unless they are. Cost: 0.3 s per million rows."""
    if not _is_wanted(view):
        return
    empty = IdMap.empty(text=view.record.id_type == "str")
    _get(view, lambda: empty.grown(view.session, view.record.id))


def _held(view: View) -> IdMap | None:
    """Return the ids in memory, brought up to date; None where there are none."""
    if view.parts.peek(view.record, _KEY) is None:
        return None
    return _get(view, lambda: IdMap.empty(text=view.record.id_type == "str"))


def _get(view: View, load: Callable[[], IdMap]) -> IdMap:
    def refresh(old: IdMap, _version: int) -> IdMap:
        return old.grown(view.session, view.record.id)

    return view.parts.get(view.session, view.record, _KEY, load, refresh)


def ids_of(view: View, numbers: NDArray[np.int64], missing: Callable[[], None] | None = None) -> list[Id]:
    """Return the ids of existing rows by number, in the order given: from memory, or from the file.

    missing: called where they are not in memory, and may be.
    """
    found = known.ids(numbers) if (known := _held(view)) is not None else None
    if found is not None:
        return found
    if missing is not None and _is_wanted(view):
        missing()
    return rows.ids_of(view.session, view.record.id, numbers)
