"""Keeps what is known of the recall of codes up to date, and the sample of queries that it is measured with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.codes.held import Coded, coded
from vicinal.engine.codes.measuring import calibrate as measure
from vicinal.engine.codes.reservoir import Reservoir
from vicinal.engine.fields import current as current_field
from vicinal.engine.fields import save as save_field
from vicinal.engine.read import spec_of
from vicinal.engine.target import Field
from vicinal.engine.view import View
from vicinal.errors import Corrupted
from vicinal.storage import catalog, codes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from vicinal.engine.codes.publisher import Publisher
    from vicinal.engine.parts import Parts
    from vicinal.storage.catalog import FieldRecord
    from vicinal.storage.pool import Pool

_GROWN, _MUCH_GROWN = 1.5, 2.0
"""Calibrated anew by maintenance, and roughly by a write, when there are so many times the slots."""
_CALIBRATED_ROWS: Final = 512
"""Of fewer coded rows, figures would say little."""


class Calibrator:
    """Measures the codes of fields, one at a time, for the one thread whose turn it is."""

    def __init__(self, pool: Pool, parts: Parts, now: Callable[[], int], threads: int, publisher: Publisher) -> None:
        self.publisher = publisher
        self._pool = pool
        self._parts = parts
        self._now = now
        self._threads = threads
        self._asked: dict[int, Reservoir] = {}

    def note(self, entry: FieldRecord, queries: NDArray[Any]) -> None:
        """Remember a sample of the queries asked, in memory only."""
        if entry.codebook is not None or entry.structure is not None:
            reservoir = self._asked.get(entry.id)
            if reservoir is None:
                reservoir = self._asked.setdefault(entry.id, Reservoir())
            reservoir.note(queries)

    def asked(self, entry: FieldRecord) -> NDArray[Any] | None:
        """Return a sample of the queries asked (n, width), None where there are too few."""
        return self._asked.setdefault(entry.id, Reservoir()).queries()

    def calibrate(self, name: str, *, first: bool) -> bool:
        """Measure the recall of one field whose figures are missing or out of date; return whether one was.

        first: roughly, and only where the figures tell nothing of the codes there are now.
        """
        with self._pool.reader() as session, session.reading():
            record = catalog.find(session, name)
            if record is None:
                return False
            view = View(session, record, self._parts, self._now())
            for entry in record.fields:
                spec, asked = spec_of(entry), self._asked.setdefault(entry.id, Reservoir())
                if spec is None or entry.codebook is None:
                    continue
                try:
                    due = _is_due(codes.describe_codebook(session, entry.codebook), entry, asked, first=first)
                except (Corrupted, TypeError, ValueError, OverflowError):
                    due = True  # what is said of it is damaged: then it cannot be used
                if not due:
                    continue
                found = coded(view, entry, spec, view.slots(entry))
                enough = isinstance(found, Coded) and _n_live(view, entry, found.length) >= _CALIBRATED_ROWS
                if isinstance(found, Coded) and enough:
                    field = Field(view, entry, spec, view.slots(entry), None, False, self._threads)
                    measured = measure(field, found, asked.queries(), first=first)
                    break
            else:
                return False
        with self.publisher.publishing() as session:
            current = current_field(session, record, entry)
            if current is not None and current[1].codebook == found.identity:
                described = codes.describe_codebook(session, found.identity)
                described |= {"calibration": measured.to_dict(), "measured_at": entry.next_slot, "rough": first}
                codes.change_codebook(session, found.identity, described)
                save_field(session, *current)
        asked.measured = asked.measured if first else asked.seen
        return True


def whole_number(value: object) -> int | None:
    """Return a whole number of a description, None for anything else: descriptions come from the file."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_due(described: Mapping[str, Any], entry: FieldRecord, asked: Reservoir, *, first: bool) -> bool:
    measured_at = whole_number(described.get("measured_at")) or 0
    if first:
        return entry.next_slot > _MUCH_GROWN * measured_at
    return entry.next_slot > _GROWN * measured_at or bool(described.get("rough", True)) or asked.unmeasured


def _n_live(view: View, entry: FieldRecord, length: int) -> int:
    """Return how many of the first positions of a field are live."""
    return int(np.count_nonzero(view.slots(entry).live[:length]))
