"""Builds graphs and lists from what is in the file, portion by portion, and stages and publishes them.

No lock is held while vectors are read or compared: slots are written once, so that each portion may be read in a
snapshot of its own, and what is deleted or moved meanwhile is either left out or masked later. The arrays go
into the file under a row that no field names, a few megabytes at a time; one small transaction names it, if the
field still wants what was built. Killed at any moment, nothing is left but pieces that maintenance removes.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine import fields, loading
from vicinal.engine.read import spec_of
from vicinal.engine.structures import beside
from vicinal.engine.structures.effort import assumed
from vicinal.engine.structures.held import Structured, key_of
from vicinal.engine.structures.makers import maker, sample_rows
from vicinal.engine.structures.measuring import K_MOST, gauge
from vicinal.engine.view import View
from vicinal.errors import Closed, Locked
from vicinal.index import Block, Centroids, row_norms, search_flat
from vicinal.indexing import AUTO
from vicinal.storage import catalog, structures
from vicinal.storage.chunks import Reader
from vicinal.storage.connection import impatient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from vicinal.engine.lease import Lease
    from vicinal.engine.parts import Parts
    from vicinal.engine.signal import Signal
    from vicinal.engine.structures.effort import EffortCalibration
    from vicinal.engine.structures.makers import Maker
    from vicinal.indexing import IndexChoice
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.pool import Pool
    from vicinal.storage.session import Session
    from vicinal.vectors import VectorSpec

_QUERIES: Final = 100
_MANY, _MANY_QUERIES = 250_000, 200
"""Of so many rows, so many stand in for queries: to compare them with each query costs little beside the rest."""
_ROWS_PER_QUERY: Final = 16
_PORTION_BYTES: Final = 8 << 20
_STAGED_BYTES: Final = 1 << 20
_REST_SECONDS: Final = 0.005
"""Between two transactions: writers that wait look more often than that."""
_LONGEST_REST: Final = 1.0


@dataclass(frozen=True, slots=True)
class Base:
    """What a build starts from: a field as it was, and what is wanted of it."""

    record: CollectionRecord
    entry: FieldRecord
    spec: VectorSpec
    choice: IndexChoice
    made: IndexChoice
    """What is built for the choice."""
    rows: int
    queries: NDArray[Any]
    query_slots: NDArray[np.int64]
    sample: NDArray[Any]
    centroids: Centroids | None


class Pace:
    """Called between pieces of work: reports them, rests as long as they took, and ends what shall not go on."""

    def __init__(
        self,
        stopping: Signal,
        lease: Lease,
        *,
        resting: bool,
        report: Callable[[int, int], None] | None = None,
    ) -> None:
        self._stopping, self._lease, self._resting, self._report = stopping, lease, resting, report
        self._since = time.monotonic()
        self.total = 0

    def __call__(self, done: int) -> None:
        """Go on. Raises Closed where the database is being closed, Locked where the lease was lost."""
        if self._resting:
            self._stopping.wait(min(_LONGEST_REST, time.monotonic() - self._since))
        if self._stopping.given:
            message = "the database was closed while an index was built"
            raise Closed(message)
        self._lease.check()
        if self._report is not None:
            self._report(min(done, self.total), self.total)
        self._since = time.monotonic()

    def rest(self) -> None:
        """Leave writers their turn."""
        self._stopping.wait(_REST_SECONDS)


class Building:
    """One build, under a lease that the caller holds."""

    def __init__(self, pool: Pool, parts: Parts, lease: Lease, pace: Pace, *, patient: bool) -> None:
        self._pool = pool
        self._parts = parts
        self._lease = lease
        self._pace = pace
        self._patient = patient

    def base(self, name: str, field: str, now: int) -> Base | None:
        """Return what to build from; None where the field is gone or has no vectors yet."""
        with self._viewing(name, now) as view:
            entry = None if view is None else view.record.field_named(field)
            spec = None if entry is None else spec_of(entry)
            if view is None or entry is None or spec is None:
                return None
            slot_map, choice = view.slots(entry), view.choice(entry)
            made = beside.made_for(choice, view, entry, spec)
            if made is None:
                return None
            live = slot_map.slots.view[slot_map.live]
            chosen = np.random.default_rng(len(live)).permutation(len(live))
            n_queries = min(_MANY_QUERIES if len(live) >= _MANY else _QUERIES, len(live) // _ROWS_PER_QUERY)
            query_slots = np.sort(live[chosen[:n_queries]])
            n_sample = sample_rows(made, len(live) - n_queries, spec)
            with Reader(view.session, entry.id, spec) as reader:
                queries = reader.at(query_slots)
                sample = reader.at(np.sort(live[chosen[n_queries : n_queries + n_sample]]))
            seen = self._parts.peek(view.record, key_of(entry))
            centroids = getattr(seen.index, "centroids", None) if isinstance(seen, Structured) else None
        return Base(view.record, entry, spec, choice, made, len(live), queries, query_slots, sample, centroids)

    def run(self, base: Base, asked: NDArray[Any] | None, now: Callable[[], int]) -> dict[str, object] | None:
        """Build, stage and publish; return what was built, None where the field no longer wants it.

        asked: real queries (n, width); where they miss more than the rows that stand in for queries, they count.
        """
        started = time.monotonic()
        self._pace.total = base.rows
        making = maker(base.made, base.rows, base.sample, base.spec, base.centroids)
        slots: list[NDArray[np.int64]] = []
        portions = self._portions(base, making, slots, now)
        every = base.queries if asked is None else np.concatenate([base.queries, asked])
        truth = search_flat(portions, every, base.spec, K_MOST, streamed=True)
        for _ in portions:  # without queries nothing has asked for them
            pass
        structure, arrays = making.finish(self._pace)
        kind, nlist = base.made.kind, making.parameters.get("nlist")
        n_held = len(base.queries)
        measured = gauge(kind, structure, every[:n_held], truth[:n_held], self._pace)
        real = gauge(kind, structure, every[n_held:], truth[n_held:], self._pace)
        efforts = assumed(kind, len(structure), nlist) if measured is None else measured.harder(real)
        arrays |= {"slots": np.concatenate([np.empty(0, np.int64), *slots])}
        pays = base.choice.kind != AUTO or self._pays(base, efforts, now)
        if base.choice.kind == AUTO:
            arrays = {name: array for name, array in arrays.items() if pays and name != "codes"}
        packed = structures.Packed.of(arrays)
        described = {
            "pays": pays,
            "kind": kind,
            "parameters": making.parameters,
            "rows": len(structure),
            "covered": base.entry.next_slot,
            "arrays": packed.head,
            "efforts": efforts.to_dict(),
        }
        if not self._publish(base, self._stage(base, packed), described):
            return None
        return {
            "kind": kind,
            "parameters": making.parameters,
            "rows": len(structure),
            "seconds": round(time.monotonic() - started, 3),
            "bytes": packed.nbytes,
        }

    @contextmanager
    def _viewing(self, name: str, now: int) -> Iterator[View | None]:
        with self._pool.reader() as session, session.reading():
            record = catalog.find(session, name)
            yield None if record is None else View(session, record, self._parts, now)

    def _portions(
        self, base: Base, making: Maker, slots: list[NDArray[np.int64]], now: Callable[[], int]
    ) -> Iterator[Block]:
        """Add all live vectors to what is made, and yield them as blocks: they are read once for both."""
        size = max(64, _PORTION_BYTES // base.spec.row_bytes)
        start = done = 0
        while start < base.entry.next_slot:
            with self._viewing(base.record.name, now()) as view:
                if view is None or view.record.id != base.record.id:
                    message = f"{base.record.name!r} was dropped while its index was built"
                    raise Closed(message)
                slot_map = view.slots(base.entry)
                known = slot_map.slots.view
                low, most = (int(at) for at in np.searchsorted(known, (start, base.entry.next_slot)))
                high = min(most, low + size)
                if low >= high:
                    return
                start = int(known[high - 1]) + 1
                found, vectors = loading.read_live(view, base.entry, base.spec, slot_map, slice(low, high))
            mine = ~np.isin(found, base.query_slots)
            found, vectors = found[mine], np.ascontiguousarray(vectors[mine])
            if not len(found):
                continue
            slots.append(found)
            making.add(vectors, self._pace)
            yield Block(done, vectors, row_norms(vectors, base.spec))
            done += len(found)

    def _pays(self, base: Base, efforts: EffortCalibration, now: Callable[[], int]) -> bool:
        with self._viewing(base.record.name, now()) as view:
            found = None if view is None else fields.current(view.session, base.record, base.entry)
            return view is not None and found is not None and beside.pays(view, found[1], base.spec, efforts)

    def _stage(self, base: Base, packed: structures.Packed) -> int:
        with self.writing() as session:
            identity = structures.begin(session, base.entry.id)
        waiting: list[tuple[int, bytes]] = []
        for number, piece in enumerate(packed.pieces()):
            waiting.append((number, piece))
            if sum(len(data) for _, data in waiting) >= _STAGED_BYTES:
                self._store(identity, waiting)
                waiting = []
        self._store(identity, waiting)
        return identity

    def _store(self, identity: int, pieces: list[tuple[int, bytes]]) -> None:
        if not pieces:
            return
        with self.writing() as session:
            if not all(structures.stage(session, identity, number, data) for number, data in pieces):
                message = "what was built of an index was removed meanwhile; it is given up"
                raise Locked(message)
        self._pace(self._pace.total)
        self._pace.rest()

    def _publish(self, base: Base, identity: int, described: dict[str, object]) -> bool:
        with self.writing() as session:
            found = fields.current(session, base.record, base.entry)
            stands = found is not None and fields.choice_of(*found) == base.choice and self._lease.is_mine(session)
            if found is None or not stands or not structures.describe(session, base.entry.id, identity, described):
                structures.drop(session, base.entry.id, identity)
                return False
            record, entry = found
            if entry.structure is not None:
                structures.drop(session, entry.id, entry.structure)
            fields.save(session, record, replace(entry, structure=identity))
        return True

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Lend a session inside a short write transaction; in the background it does not wait for other processes."""
        with self._pool.writer() as session:
            patience = nullcontext() if self._patient else impatient(session.connection, self._pool.settings.timeout)
            with patience, session.writing():
                yield session
