"""Keeps the index of each field what its user chose: builds it when asked, and anew when it no longer serves."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine import fields
from vicinal.engine.lease import Lease
from vicinal.engine.read import spec_of
from vicinal.engine.signal import Signal
from vicinal.engine.structures import beside
from vicinal.engine.structures.building import Building, Pace
from vicinal.engine.structures.held import Structured, Unusable, key_of, structured
from vicinal.engine.view import View
from vicinal.errors import Corrupted, InvalidInput, Locked, NotFound, Unsupported
from vicinal.index import Graph
from vicinal.indexing import AUTO, STRUCTURED
from vicinal.storage import catalog, codes, structures

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicinal.engine.codes.calibrator import Calibrator
    from vicinal.engine.codes.coder import Coder
    from vicinal.engine.parts import Parts
    from vicinal.indexing import IndexChoice
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.pool import Pool
    from vicinal.storage.session import Session

MIN_ROWS: Final = 1000
"""Of fewer rows graphs and lists are not built; an exact scan of them takes a tenth of a millisecond."""
_STALE: Final = 0.2
"""Built anew where so large a share of the rows came or went since."""
_STALE_BESIDE: Final = 0.5
"""The same for a graph beside codes, which search what came since."""
_STILL_SECONDS: Final = 10.0
"""A collection that no process has written to for so long gets what takes minutes."""
_CODED_AT_ONCE: Final = 65_536
_POLL_SECONDS: Final = 0.05


class Builder:
    """Builds graphs and lists, one at a time among all processes; safe to share between threads."""

    def __init__(self, pool: Pool, parts: Parts, coder: Coder, calibrator: Calibrator, now: Callable[[], int]) -> None:
        self._pool = pool
        self._parts = parts
        self._coder = coder
        self._calibrator = calibrator
        self._now = now
        self._stopping = Signal()
        self._seen: dict[int, tuple[int, float]] = {}
        """Of each collection, the stamp seen last, and since when it has been the same."""

    def stop(self) -> None:
        """End the build under way at its next step."""
        self._stopping.give()

    def choose(self, session: Session, record: CollectionRecord, entry: FieldRecord, choice: IndexChoice) -> None:
        """Store a choice, inside the caller's write; what was made for another one is dropped.

        Raises Unsupported where the kind does not suit the field, InvalidInput inside a transaction of the user.
        """
        if self._pool.in_transaction:
            message = "an index is built of what is durable: call index() after the transaction"
            raise InvalidInput(message)
        choice.check_suits(entry.dtype, entry.metric, entry.dim)
        changed = fields.choice_of(record, entry) != choice
        if changed and entry.structure is not None:
            structures.drop(session, entry.id, entry.structure)
            entry = replace(entry, structure=None)
        fields.save(session, fields.with_choice(record, entry, choice), entry)

    def build(
        self, name: str, field: str, choice: IndexChoice, report: Callable[[int, int], None] | None
    ) -> dict[str, object]:
        """Make what a stored choice needs, now; return what was made. Raises Locked where another build goes on."""
        started = time.monotonic()
        self._code(name, field, report if choice.kind not in STRUCTURED else None)
        found: dict[str, object] | None = None
        if choice.kind in STRUCTURED:
            found = self._built(name, field, wait=self._pool.settings.timeout, report=report)
        if found is not None:
            return found
        rows, nbytes = self._coded(name, field)
        bits = {} if choice.kind not in ("auto", "scan") or not rows else self._bits(name, field)
        if choice.kind in STRUCTURED:
            rows = nbytes = 0  # too few rows as yet
        return {
            "kind": choice.kind,
            "parameters": {**choice.parameters, **bits},
            "rows": rows,
            "seconds": round(time.monotonic() - started, 3),
            "bytes": nbytes,
        }

    def tend(self, *, resting: bool, beside_codes: bool) -> bool:
        """Build what is missing, damaged or out of date, or remove what a killed build left; whether there was any.

        resting: leave the processor to others for as long as it works. beside_codes: also graphs that nobody chose.
        Raises Locked where another process writes.
        """
        if self._pool.in_transaction or self._pool.target.read_only:
            return False
        due, strays = self._due(beside_codes=beside_codes, resting=resting)
        if due is not None:
            return self._built(*due, wait=0.0, resting=resting) is not None
        if strays:
            lease = Lease(self._pool, "index")
            with lease.held(0.0) as mine:
                if mine:
                    with self._pool.writer() as session, session.writing():
                        structures.drop_strays(session)
            return mine
        return False

    def unreachable(self, view: View, entry: FieldRecord) -> int | None:
        """Return how many live rows of a field's graph no walk comes to; None where there is no graph."""
        spec = spec_of(entry)
        found = None if spec is None else structured(view, entry, spec, view.slots(entry))
        if not isinstance(found, Structured) or not isinstance(found.index, Graph):
            return None
        rows, live = found.index.unreachable(), found.placed.live
        return len(rows) if live is None else int(np.count_nonzero(live[rows]))

    def _built(
        self,
        name: str,
        field: str,
        *,
        wait: float,
        resting: bool = False,
        report: Callable[[int, int], None] | None = None,
    ) -> dict[str, object] | None:
        """Build under the lease; None where there are too few rows, or nobody wants it any more."""
        lease = Lease(self._pool, "index")
        with lease.held(wait) as mine:
            if not mine and wait:
                message = "another index of this database is being built; try again when it is done"
                raise Locked(message)
            if not mine:
                return None
            pace = Pace(self._stopping, lease, resting=resting, report=report)
            building = Building(self._pool, self._parts, lease, pace, patient=not resting)
            with building.writing() as session:
                structures.drop_strays(session)
            base = building.base(name, field, self._now())
            if base is None or base.made.kind not in STRUCTURED or base.rows < MIN_ROWS:
                return None
            return building.run(base, self._calibrator.asked(base.entry), self._now)

    def _due(self, *, beside_codes: bool, resting: bool) -> tuple[tuple[str, str] | None, bool]:
        """Return the collection and field whose index is to be built, and whether a killed build left something."""
        kinds = STRUCTURED | {AUTO} if beside_codes else STRUCTURED
        with self._pool.reader() as session, session.reading():
            if not session.has_schema():
                return None, False
            for name in catalog.names(session):
                record = catalog.find(session, name)
                for entry in () if record is None else record.fields:
                    if record is not None and fields.choice_of(record, entry).kind in kinds:
                        view = View(session, record, self._parts, self._now())
                        still = not resting or self._is_still(record)
                        if self._is_due(view, entry, still=still):
                            return (name, entry.name), False
            return None, structures.has_strays(session)

    def _is_still(self, record: CollectionRecord) -> bool:
        """Return whether nobody has written to a collection for a while, as far as was seen."""
        now = time.monotonic()
        stamp, since = self._seen.get(record.id, (None, now))
        if stamp != record.stamp:
            since = now
        self._seen[record.id] = record.stamp, since
        return now - since >= _STILL_SECONDS

    def _is_due(self, view: View, entry: FieldRecord, *, still: bool) -> bool:
        spec, choice = spec_of(entry), view.choice(entry)
        if choice.kind == AUTO and not still:
            return False
        try:
            choice.check_suits(entry.dtype, entry.metric, entry.dim)
        except Unsupported:  # the dimension came after the choice
            return False
        if spec is None or entry.next_slot < MIN_ROWS or beside.made_for(choice, view, entry, spec) is None:
            return False
        if view.slots(entry).n_live < MIN_ROWS:
            return False
        if entry.structure is None:
            return True
        seen = self._parts.peek(view.record, key_of(entry))
        if isinstance(seen, Unusable) and seen.identity == entry.structure and seen.damaged:
            return True
        try:
            described = structures.described(view.session, entry.id, entry.structure)
        except Corrupted:
            return True
        return _is_stale(view, entry, described, _STALE_BESIDE if choice.kind == AUTO else _STALE)

    def _code(self, name: str, field: str, report: Callable[[int, int], None] | None) -> None:
        """Bring codes up to date: all of them, or none where the choice is to have none."""
        deadline = time.monotonic() + self._pool.settings.timeout
        while not self._coder.settle(name, _CODED_AT_ONCE):
            before = self._coded(name, field)[0]
            if report is not None:
                report(before, max(before, self._rows(name, field)))
            if self._stopping.given or (self._coder.busy and time.monotonic() > deadline):
                return
            time.sleep(_POLL_SECONDS if self._coder.busy else 0.0)

    def _field(self, session: Session, name: str, field: str) -> tuple[CollectionRecord, FieldRecord]:
        record = catalog.find(session, name)
        entry = None if record is None else record.field_named(field)
        if record is None or entry is None:
            message = f"the field {field!r} of {name!r} is gone"
            raise NotFound(message)
        return record, entry

    def _rows(self, name: str, field: str) -> int:
        with self._pool.reader() as session, session.reading():
            return self._field(session, name, field)[1].next_slot

    def _coded(self, name: str, field: str) -> tuple[int, int]:
        """Return how many slots have codes, and the bytes of these."""
        with self._pool.reader() as session, session.reading():
            entry = self._field(session, name, field)[1]
            if entry.codebook is None:
                return 0, 0
            return entry.covered, codes.nbytes(session, entry.codebook)

    def _bits(self, name: str, field: str) -> dict[str, Any]:
        with self._pool.reader() as session, session.reading():
            entry = self._field(session, name, field)[1]
            described = {} if entry.codebook is None else codes.describe_codebook(session, entry.codebook)
            return {"bits": described["bits"]} if "bits" in described else {}


def _is_stale(view: View, entry: FieldRecord, described: dict[str, Any], most: float) -> bool:
    """Return whether too many rows came since a structure was built, or went."""
    rows, covered = described.get("rows"), described.get("covered")
    if not isinstance(rows, int) or not isinstance(covered, int):
        return True
    slot_map = view.slots(entry)
    length = int(np.searchsorted(slot_map.slots.view, min(max(0, covered), 1 << 40)))
    inside = int(np.count_nonzero(slot_map.live[:length]))
    return max(slot_map.n_live - inside, rows - inside) > most * max(rows, 1)
