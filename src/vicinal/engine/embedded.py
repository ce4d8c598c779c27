"""The embedded backend: collections in one SQLite file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from vicinal.backend import Capabilities, CollectionInfo, CollectionSpec
from vicinal.engine import idmap, maintenance, read, resident, search, transfer, verify, write
from vicinal.engine.codes.calibrator import Calibrator
from vicinal.engine.codes.coder import Coder
from vicinal.engine.codes.held import Coded, gather
from vicinal.engine.codes.publisher import Publisher
from vicinal.engine.gate import Gate
from vicinal.engine.maintainer import Maintainer
from vicinal.engine.parts import Parts
from vicinal.engine.records import blank_record, field_of, info_of, not_found
from vicinal.engine.resident import Resident
from vicinal.engine.search import Trace
from vicinal.engine.structures import beside
from vicinal.engine.structures.builder import Builder
from vicinal.engine.structures.held import Structured
from vicinal.engine.upkeep import Upkeep
from vicinal.engine.view import View
from vicinal.engine.warmer import Warmer
from vicinal.errors import AlreadyExists, InvalidInput, NotFound, SpecMismatch, VicinalError
from vicinal.report import Explanation
from vicinal.storage import catalog
from vicinal.storage.pool import Pool
from vicinal.storage.session import Moved, Session

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from vicinal.backend import WriteMode
    from vicinal.batch import Batch
    from vicinal.filters import Node
    from vicinal.indexing import IndexChoice
    from vicinal.report import Report
    from vicinal.request import GetRequest, Include, SearchRequest
    from vicinal.results import BatchHits, Hits, Rows
    from vicinal.settings import Settings
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.connection import Target
    from vicinal.values import Id


T = TypeVar("T")
_Search = Callable[[View, "FieldRecord", "SearchRequest", int, Trace], T]


class EmbeddedBackend:
    """Serves collections from one file; safe to share between threads and tasks."""

    def __init__(self, target: Target, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._pool = Pool(target, settings)
        self._settings = settings
        self._clock = clock
        self._parts = Parts(settings.memory_budget, _nbytes_of, settings.threads)
        self._gate = Gate(settings.threads)
        self._warmer = Warmer(self._load_block)
        self._calibrator = Calibrator(self._pool, self._parts, self._now, settings.threads, Publisher(self._pool))
        self._coder = Coder(self._pool, self._parts, self._now, settings.threads, self._calibrator)
        self._builder = Builder(self._pool, self._parts, self._coder, self._calibrator, self._now)
        self._upkeep = Upkeep(self._coder, self._builder)
        self._maintainer = Maintainer(self._pool, self._upkeep, self._now, enabled=settings.maintenance)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            transactions=True,
            sql=True,
            text=False,
            exact=True,
            measured_recall=True,
            embeds=False,
            id_types=frozenset({"int", "str"}),
            dtypes=frozenset({"f32", "f16", "i8", "bit"}),
            metrics=frozenset({"cosine", "l2", "dot", "l1", "hamming"}),
        )

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    # --- seams -----------------------------------------------------------------------------

    def _record(self, session: Session, name: str, identity: int | None = None) -> CollectionRecord:
        found = catalog.find(session, name)
        if found is None:
            raise NotFound(not_found(name, catalog.names(session)))
        if identity is not None and found.id != identity:
            message = f"{name!r} was dropped and created anew meanwhile; open it again with db.collection()"
            raise SpecMismatch(message)
        return found

    @contextmanager
    def _view(self, name: str, identity: int | None = None) -> Iterator[View]:
        with self._pool.reader() as session, session.reading():
            yield View(session, self._record(session, name, identity), self._parts, self._now())

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with self._pool.writer() as session:
            with session.writing():
                yield session
            if not session.connection.in_transaction:
                self._maintainer.wake()

    # --- collections -----------------------------------------------------------------------

    def names(self) -> list[str]:
        with self._pool.reader() as session, session.reading():
            return catalog.names(session)

    def describe(self, name: str, *, count: bool = False) -> CollectionInfo:
        with self._view(name) as view:
            info = info_of(view.record)
            return replace(info, rows=read.count(view, None)) if count else info

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        with self._writing() as session:
            self._pool.ensure_schema(session)
            if catalog.find(session, spec.name) is not None:
                message = f"a collection {spec.name!r} exists already"
                raise AlreadyExists(message)
            return info_of(catalog.create(session, blank_record(spec)))

    def drop(self, name: str) -> None:
        with self._writing() as session:
            record = self._record(session, name)
            catalog.forget(session, record)
        self._parts.drop(record.id)

    def rename(self, name: str, new_name: str) -> None:
        with self._writing() as session:
            record = self._record(session, name)
            if catalog.find(session, new_name) is not None:
                message = f"a collection {new_name!r} exists already"
                raise AlreadyExists(message)
            catalog.rename(session, record, new_name)

    # --- rows ------------------------------------------------------------------------------

    def write(self, name: str, batch: Batch, mode: WriteMode) -> list[Id]:
        with self._writing() as session:
            record, now = self._record(session, name, batch.collection), self._now()
            if mode == "add":
                ids = write.add(session, record, batch, now=now)
            elif mode == "upsert":
                ids = write.upsert(session, record, batch, now=now)
            else:
                write.update(session, record, batch, now=now)
                ids = batch.ids or []
            may_code = self._coder.along(session, name, len(ids))
        if may_code:
            with suppress(VicinalError):  # the write is durable: what fails here is left to maintenance
                self._coder.after(name, len(ids))
        return ids

    def patch(
        self,
        name: str,
        where: Node | None,
        *,
        patch: str | None,
        unset: Sequence[str],
        expires: int | None,
        set_expires: bool,
    ) -> int:
        with self._writing() as session:
            view = View(session, self._record(session, name), self._parts, self._now())
            numbers = view.passing_numbers(where)
            return write.patch_rows(
                session,
                view.record,
                numbers,
                patch=patch,
                unset=unset,
                expires=expires,
                set_expires=set_expires,
            )

    def delete(self, name: str, ids: list[Id] | None, where: Node | None) -> int:
        with self._writing() as session:
            view = View(session, self._record(session, name), self._parts, self._now())
            if ids is None:
                return write.delete_rows(session, view.record, view.passing_numbers(where))
            passing = None if where is None else set(view.passing_numbers(where).tolist())
            return write.delete_ids(session, view.record, ids, now=view.now, only=passing)

    def get(self, name: str, request: GetRequest) -> Rows:
        with self._view(name) as view:
            return read.get(view, request)

    def count(self, name: str, where: Node | None) -> int:
        with self._view(name) as view:
            return read.count(view, where)

    def exists(self, name: str, identity: Id) -> bool:
        with self._view(name) as view:
            return read.exists(view, identity)

    def page(
        self, name: str, after: int, limit: int, where: Node | None, include: Sequence[Include]
    ) -> tuple[Rows, int] | None:
        with self._view(name) as view:
            return read.page(view, after, limit, where, include)

    # --- search ----------------------------------------------------------------------------

    @contextmanager
    def _searching(
        self, name: str, request: SearchRequest, hold: Callable[[Session], AbstractContextManager[None]]
    ) -> Iterator[tuple[View, int]]:
        """Lend a view of a snapshot, and the threads to search it with."""
        with (
            self._gate.entered(free=self._pool.in_transaction) as threads,
            self._pool.reader() as session,
            hold(session),
        ):
            yield View(session, self._record(session, name, request.collection), self._parts, self._now()), threads

    def search(self, name: str, request: SearchRequest) -> list[Hits]:
        return self._found(name, request, search.search)

    def search_arrays(self, name: str, request: SearchRequest) -> BatchHits:
        return self._found(name, request, search.search_arrays)

    def _found(self, name: str, request: SearchRequest, find: _Search[T]) -> T:
        if not request.include:  # all it needs may be in memory
            with suppress(Moved):
                return self._found_in(name, request, find, Session.looking)
        return self._found_in(name, request, find, Session.reading)

    def _found_in(
        self,
        name: str,
        request: SearchRequest,
        find: _Search[T],
        hold: Callable[[Session], AbstractContextManager[None]],
    ) -> T:
        with self._searching(name, request, hold) as (view, threads):
            entry, trace = self._searched(view, request), Trace()
            found = find(view, entry, request, threads, trace)
        if trace.cold and not self._pool.in_transaction:
            self._warmer.wake(name, entry.name)
        return found

    def _load_block(self, name: str, field: str) -> bool:
        """Take a block of vectors into memory, at last ids and a graph; return whether there may be more."""
        with self._view(name) as view:
            entry = view.record.field_named(field)
            spec = None if entry is None else read.spec_of(entry)
            if entry is None or spec is None:
                return False
            slot_map = view.slots(entry)
            gather(view, entry, spec, slot_map)
            held = resident.resident(view, entry, spec, slot_map, at_once=1)
            if held.length < resident.most_resident(view, entry, spec, slot_map):
                return True
            if held.length >= len(slot_map):
                idmap.hold(view)
            if beside.is_wanted(view, entry):
                beside.hold(view, entry, spec, slot_map)
            return False

    def sample(self, name: str, field: str, n: int) -> tuple[list[Id], NDArray[np.generic]]:
        with self._view(name) as view:
            return read.sample(view, field_of(view.record, field), n)

    def _searched(self, view: View, request: SearchRequest) -> FieldRecord:
        """Return the field to search, and take note of the queries."""
        entry = field_of(view.record, request.using)
        if request.vectors is not None:
            self._calibrator.note(entry, request.vectors)
        return entry

    def explain(self, name: str, request: SearchRequest) -> Explanation:
        with self._searching(name, request, Session.reading) as (view, threads):
            entry, trace = field_of(view.record, request.using), Trace()
            hits = search.search(view, entry, request, threads, trace)
            return Explanation(
                plan=f"{trace.plan} of {entry.name!r} ({entry.dtype}, {entry.metric})",
                rejected=dict(trace.rejected),
                rows=trace.rows_live,
                passing=trace.rows_passing,
                candidates=trace.candidates,
                returned=sum(map(len, hits)),
                recall=trace.recall,
                notes=tuple(trace.notes),
                where=None if request.where is None else str(request.where),
                unknown_fields=tuple(view.unknown_fields(request.where)),
                streamed=trace.streamed,
                stages_ms=trace.stages_ms,
            )

    # --- indexes ---------------------------------------------------------------------------

    def index(
        self, name: str, using: str | None, choice: IndexChoice, progress: Callable[[int, int], None] | None
    ) -> dict[str, object]:
        with self._writing() as session:
            record = self._record(session, name)
            entry = field_of(record, using)
            self._builder.choose(session, record, entry, choice)
        return self._builder.build(name, entry.name, choice, progress)

    def unreachable(self, name: str, using: str | None) -> int | None:
        with self._view(name) as view:
            return self._builder.unreachable(view, field_of(view.record, using))

    # --- the database ----------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._pool.transaction():
            yield
        self._maintainer.wake()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._pool.snapshot():
            yield

    def execute(self, sql: str, parameters: object) -> list[tuple[object, ...]]:
        # One connection for all of it: attached files and temporary tables are a connection's own.
        with self._pool.writer() as session:
            return session.run_user(sql, parameters, in_transaction=self._pool.in_transaction)  # type: ignore[arg-type]

    def backup(self, path: str | os.PathLike[str], progress: Callable[[int, int], None] | None) -> None:
        if self._pool.in_transaction:
            message = "a backup inside a transaction would miss it; take it before or after"
            raise InvalidInput(message)
        with self._pool.reader() as session:
            transfer.backup(session, path, progress)

    def verify(self, *, repair: bool, progress: Callable[[int, int], None] | None) -> Report:
        if not repair:
            with self._pool.reader() as session, session.reading():
                return verify.verify(session, progress)
        with self._writing() as session:
            return verify.repair(session, progress)

    def compact(self, progress: Callable[[int, int], None] | None, *, beside_codes: bool) -> dict[str, int]:
        return maintenance.compact(self._pool, self._upkeep, self._now, progress, beside_codes=beside_codes)

    def stats(self) -> dict[str, object]:
        with self._pool.reader() as session, session.reading():
            return transfer.stats(session)

    def close(self) -> None:
        self._pool.close()
        self._warmer.stop()
        self._maintainer.stop()


def _nbytes_of(value: object) -> int:
    """Return the bytes a part counts against the memory budget: vectors and codes do, all else is small."""
    return value.nbytes if isinstance(value, (Resident, Coded, Structured)) else 0
