"""A world in which codes matter at once: limits that few rows cross, and every search goes over codes.

Searches compare all rows by their codes and all of them exactly afterwards, so answers must equal the
model's: a wrong position, a missing row, a wrong mask shows. `untrue` looks at the codes themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.engine import planner
from vicinal.engine.codes import coder
from vicinal.engine.codes import held as coded
from vicinal.engine.read import spec_of
from vicinal.index import Codebook
from vicinal.index import codebook as training
from vicinal.storage import catalog, codes
from vicinal.storage.chunks import Reader
from vicinal.storage.schema import first_key, last_key, number_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import vicinal
    from vicinal.storage.session import Session

searched: dict[str, int] = {}
"""How many searches went which way."""


def small_codes(  # noqa: PLR0917 - one table of limits
    patch: Callable[..., None],
    rows: int = 300,
    tail: int = 32,
    step: int = 200,
    coarse: int = 1500,
    segment: int = 256,
    piece: int = 64,
    dim: int = 16,
) -> None:
    """Give codes to fields of `rows` slots, in small steps, pieces and segments; coarse ones from `coarse` slots.

    dim: the dimensions of the fields.
    """
    for module, name, value in (
        (coder, "MIN_ROWS", rows),
        (coder, "_TAIL_SLOTS", tail),
        (coder, "_STEP_SLOTS", step),
        (coder, "BULK_ROWS", 1),  # every write does what those of many rows do
        (coded, "_SEGMENT_ROWS", segment),
        (coded, "_MOST_SEGMENTS", 3),
        (codes, "PIECE_SLOTS", piece),
        (training, "MIN_TRAINING_ROWS", 16),
        (training, "_COARSE_FROM", coarse * dim),
    ):
        assert hasattr(module, name), (module, name)
        patch(module, name, value)


def always_codes(patch: Callable[..., None]) -> None:
    """Let every search that may use codes use them, and compare all rows."""
    searched.clear()
    usual = planner.choose

    def choose(situation: Any, spec: Any, found: Any) -> Any:
        plan = usual(situation, spec, found)
        if found is not None and not situation.exact:
            # More than there are: a search that finds fewer than it asked for is not deepened.
            plan = replace(plan, way="code scan", depth=situation.rows + 1)
        searched[plan.way] = searched.get(plan.way, 0) + 1
        return plan

    patch(planner, "choose", choose)


def untrue(db: vicinal.Database) -> list[str]:
    """Return which codes, in the file and in memory, are not those of the vectors beside them."""
    found: list[str] = []
    backend: Any = db._backend
    with backend._pool.reader() as session, session.reading():
        for name in catalog.names(session):
            record = catalog.find(session, name)
            assert record is not None
            for entry in record.fields:
                if entry.codebook is None:
                    continue
                live = _live_slots(session, record.id, entry.ordinal)
                problems = _stored(session, entry, live)
                part = backend._parts.peek(record, ("codes", entry.id))
                if isinstance(part, coded.Coded):
                    problems += _held(session, entry, live, part)
                found += [f"{name!r}, {entry.name!r}: {problem}" for problem in problems]
    return found


def covered(db: vicinal.Database, name: str) -> dict[str, tuple[int | None, int, int]]:
    """Return codebook, covered slots and written slots of each field."""
    backend: Any = db._backend
    with backend._pool.reader() as session, session.reading():
        record = catalog.find(session, name)
        assert record is not None
        return {entry.name: (entry.codebook, entry.covered, entry.next_slot) for entry in record.fields}


def _live_slots(session: Session, collection: int, ordinal: int) -> np.ndarray:
    """Return the slots that rows use, from the rows themselves."""
    sql = "select slots from vicinal_row where key between ? and ?"
    stored = session.run(sql, (first_key(collection), last_key(collection)))
    slots = [int(np.frombuffer(row[0], "<i8")[ordinal]) for row in stored]  # type: ignore[call-overload]
    return np.array(sorted(slot for slot in slots if slot >= 0), np.int64)


def _expected(session: Session, entry: Any, codebook: Codebook, slots: np.ndarray) -> np.ndarray:
    spec = spec_of(entry)
    assert spec is not None
    with Reader(session, entry.id, spec) as reader:
        return codebook.encode(reader.at(slots))


def _stored(session: Session, entry: Any, live: np.ndarray) -> list[str]:
    problems = []
    for identity in codes.codebook_ids(session, entry.id):
        spec = spec_of(entry)
        assert spec is not None
        codebook = Codebook.from_arrays(spec, codes.codebook(session, entry.id, identity).arrays)
        end = entry.covered if identity == entry.codebook else codes.coded_until(session, identity)
        known: dict[int, bytes] = {}
        sql = "select key, count, data from vicinal_code where key between ? and ? order by key"
        for key, count, data in session.run(sql, (first_key(identity), last_key(identity))):
            width = codebook.code_bytes
            for at in range(count):  # type: ignore[arg-type]
                known[number_of(key) + at] = data[at * width : (at + 1) * width]  # type: ignore[arg-type, index]
        slots = live[live < end]
        wanted = _expected(session, entry, codebook, slots)
        wrong = [int(slot) for slot, code in zip(slots, wanted, strict=True) if known.get(int(slot)) != code.tobytes()]
        if wrong:
            problems.append(f"codebook {identity}: {len(wanted)} slots, wrong or missing codes at {wrong[:9]}")
        if not 0 <= entry.covered <= entry.next_slot:
            problems.append(f"covered {entry.covered} of {entry.next_slot}")
    return problems


def _held(session: Session, entry: Any, live: np.ndarray, part: coded.Coded) -> list[str]:
    if part.identity != entry.codebook:
        return []  # of an older version; the next search loads
    slots = part.slots.view[: part.length]
    if part.segments:
        held = np.concatenate([segment.codes for segment in part.segments])
        firsts = [segment.first for segment in part.segments]
        ends = [segment.first + len(segment) for segment in part.segments]
        if firsts != [0, *ends[:-1]] or ends[-1] != part.length:
            return [f"segments at {firsts} to {ends} of {part.length}"]
    else:
        held = np.empty((0, part.codebook.code_bytes), np.uint8)
    at = np.flatnonzero(np.isin(slots, live))
    wanted = _expected(session, entry, part.codebook, slots[at])
    wrong = at[(held[at] != wanted).any(axis=1)]
    return [f"in memory: wrong codes at positions {wrong[:9].tolist()}"] if len(wrong) else []
