"""Maintenance in bounded steps, each a small transaction of its own.

Never needed for correctness: rows that have expired are not found, dead slots are masked, collections
that were dropped are gone from the catalog. It gives their space back.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vicinal.engine.change import Change
from vicinal.engine.read import spec_of
from vicinal.engine.write import delete_rows
from vicinal.errors import Corrupted, ReadOnly
from vicinal.storage import catalog, chunks, rows
from vicinal.storage.chunks import Reader
from vicinal.storage.connection import empty_log, impatient
from vicinal.storage.failures import translating
from vicinal.storage.rows import pack_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vicinal.engine.upkeep import Upkeep
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.pool import Pool
    from vicinal.storage.session import Session

STEP_SECONDS: Final = 0.02
STEP_BYTES: Final = 4 << 20
_STEP_ROWS: Final = 2000
_ENOUGH_STUBS: Final = 1024
_FREE_BYTES_KEPT: Final = 1 << 20
_LOG_SECONDS: Final = 0.2
_REST_SECONDS: Final = 0.005


def step(pool: Pool, now: Callable[[], int], *, waiting: bool = True) -> bool:
    """Do one bounded piece of work; return whether there may be more.

    Holds the write lock for at most about `STEP_SECONDS` and `STEP_BYTES`. Without `waiting`, raises
    Locked at once where another process writes: to wait would keep this one's writers waiting, too.
    """
    deadline = time.monotonic() + STEP_SECONDS
    with pool.writer() as session, translating(session.path):
        if session.read_only:
            message = f"{session.path!r} is open read-only"
            raise ReadOnly(message)
        if not session.has_schema():
            return False
        patience = nullcontext() if waiting else impatient(session.connection, pool.settings.timeout)
        with session.reading():  # the write lock is taken only where there is something to do
            name, orphans = _next_work(session, now()), catalog.has_orphans(session)
        with patience:
            if name is None and not orphans:
                return give_back(session)
            with session.writing():
                record = None if name is None else catalog.find(session, name)
                if record is None:
                    catalog.delete_orphans(session, _STEP_ROWS)
                else:
                    _serve(session, record, now(), deadline)
        return True


def _next_work(session: Session, now: int) -> str | None:
    """Return the name of a collection with something to do, or None."""
    for name in catalog.names(session):
        record = catalog.find(session, name)
        if record is None:
            continue
        if len(rows.expired(session, record.id, now, 1)):
            return name
        for entry in record.fields:
            if chunks.sparse(session, entry.id, 1) or chunks.count_stubs(session, entry.id) > _ENOUGH_STUBS:
                return name
    return None


def _serve(session: Session, record: CollectionRecord, now: int, deadline: float) -> None:
    gone = rows.expired(session, record.id, now, _STEP_ROWS)
    if len(gone):
        delete_rows(session, record, gone)
        return
    for entry in record.fields:
        sparse = chunks.sparse(session, entry.id, 64)
        if sparse:
            _move(session, record, entry, sparse, deadline)
            return
        if chunks.count_stubs(session, entry.id) > _ENOUGH_STUBS:
            chunks.purge_stubs(session, entry.id)
            # A reader of an older version cannot tell that these slots are dead: it loads anew.
            floors = (
                replace(known, floor=record.version + 1) if known.id == entry.id else known for known in record.fields
            )
            catalog.save(session, replace(record, fields=tuple(floors)))
            return


def _move(
    session: Session, record: CollectionRecord, entry: FieldRecord, sparse: Iterable[int], deadline: float
) -> None:
    """Copy the live vectors of sparse chunks to new slots, and drop these chunks."""
    spec = spec_of(entry)
    if spec is None:
        return
    change = Change(session, record)
    moved_bytes = 0
    for first in sparse:
        slots, numbers = chunks.live_slots(session, entry.id, first)
        if len(slots):
            with Reader(session, entry.id, spec) as reader:
                vectors = reader.at(slots)
            new = change.append(entry.name, vectors, numbers)
            stored = rows.by_numbers(session, record.id, numbers, len(record.fields), slots_only=True)
            if len(stored) != len(numbers):
                message = f"the chunk at slot {first} names rows that do not exist; run: vicinal verify --repair"
                raise Corrupted(message)
            rows.set_slots(
                session,
                record.id,
                (
                    (
                        row.row,
                        pack_slots((*row.slots[: entry.ordinal], slot, *row.slots[entry.ordinal + 1 :])),
                    )
                    for row, slot in zip(stored, new.tolist(), strict=True)
                ),
            )
            moved_bytes += vectors.nbytes
        chunks.drop(session, entry.id, first, change.version)
        if moved_bytes >= STEP_BYTES or time.monotonic() >= deadline:
            break
    change.finish()


def give_back(session: Session) -> bool:
    """Return free pages to the file system, one bounded step; whether there may be more."""
    if session.run("pragma auto_vacuum")[0][0] != 2:
        return False
    page_bytes = int(str(session.run("pragma page_size")[0][0]))
    free = int(str(session.run("pragma freelist_count")[0][0]))
    if free * page_bytes <= _FREE_BYTES_KEPT:
        return False
    with session.writing():
        session.run(f"pragma incremental_vacuum({STEP_BYTES // page_bytes})")
    return True


def compact(
    pool: Pool,
    upkeep: Upkeep,
    now: Callable[[], int],
    progress: Callable[[int, int], None] | None,
    *,
    beside_codes: bool,
) -> dict[str, int]:
    """Run all steps there are, and empty the write-ahead log; return bytes before and after.

    beside_codes: also build graphs that nobody chose, which takes minutes.
    """
    with pool.writer() as session:
        before = _file_bytes(session)
    done = 0
    while step(pool, now) or upkeep.tend(resting=False, beside_codes=beside_codes):
        done += 1
        if progress is not None:
            progress(done, 0)
        time.sleep(_REST_SECONDS)  # writers that wait look more often than that
    with pool.writer() as session:
        if not session.connection.in_transaction and not session.read_only and not pool.target.in_memory:
            with session.lock, translating(session.path):
                empty_log(session.connection, _LOG_SECONDS, pool.settings.timeout)
        return {"bytes_before": before, "bytes_after": _file_bytes(session), "steps": done}


def _file_bytes(session: Session) -> int:
    pages, size = session.run("pragma page_count")[0][0], session.run("pragma page_size")[0][0]
    return int(str(pages)) * int(str(size))
