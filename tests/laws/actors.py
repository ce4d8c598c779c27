"""Those who use one file at once: this process, another process, and the engine on a foreign connection.

Each performs the same calls and reports plain values. Run as a program, this is the other process.
"""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

import vicinal
from vicinal.engine import columns, loading, maintenance, read, resident, rest, rowmap, search, slotmap, view, write
from vicinal.engine.records import info_of
from vicinal.intake import Columns, expiries, prepare
from vicinal.request import GetRequest, SearchRequest, check_order
from vicinal.storage import catalog, chunks, rows
from vicinal.storage.session import Session
from vicinal.values import encode_metadata

if TYPE_CHECKING:
    from vicinal.engine.parts import Parts

MICRO = 1_000_000
ALL = ("document", "metadata", "vector")
READS = ("get", "count", "contains", "search", "search_batch")


def canonical(value: Any) -> Any:
    """Return a metadata value so that 1, 1.0 and True differ, and moments are compared as such."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, datetime):
        return ("moment", value.astimezone(UTC).replace(tzinfo=None).isoformat())
    return (type(value).__name__, repr(value))


def report(found: Any) -> list[tuple[Any, ...]]:
    """Return rows as plain values."""
    return [
        (row.id, row.document, canonical(row.metadata), {name: v.tobytes() for name, v in sorted(row.vectors.items())})
        for row in found
    ]


def small_world(patch: Any) -> None:
    """Make every limit so small that a few rows cross it: chunks, blocks, stubs, patches."""
    for module in (rows, rowmap, columns):
        patch(module, "BLOCK_ROWS", 8)
    for module in (resident, loading, rest):
        patch(module, "BLOCK_ROWS", 16)
    for module, name, value in (
        (chunks, "_CHUNK_BYTES", 256),
        (chunks, "_FIRST_CHUNK_BYTES", 96),
        (slotmap, "_FEW", 8),
        (rowmap, "_FEW", 8),
        (columns, "_FEW", 8),
        (columns, "_READ_ROWS", 8),
        (columns, "_WORTH_TWO", 16),
        (rows, "_AT_ONCE", 3),
        (loading, "_TAKEN", 1),
        (resident, "_STREAM_BYTES", 256),
        (maintenance, "_ENOUGH_STUBS", 2),
        (maintenance, "STEP_BYTES", 8192),
    ):
        assert hasattr(module, name), (module, name)
        patch(module, name, value)


def _coding() -> Any:
    """Return the limits of codes beside this file, which is a module of a package or a program."""
    path = Path(__file__).with_name("coding.py")
    spec = importlib.util.spec_from_file_location("coding_of_laws", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coding = _coding()


def coded_world(patch: Any) -> None:
    """Code fields of 32 rows, and search over codes wherever there are any."""
    coding.small_codes(patch, rows=32, tail=6, step=40, coarse=400, segment=16, piece=8)
    coding.always_codes(patch)


class Local:
    """The public API in this process."""

    def __init__(self, path: str, clock: list[int], *, budget: int | None = None) -> None:
        self.path, self.clock, self.budget = path, clock, budget
        self.open()

    def open(self) -> None:
        self.db = vicinal.connect(
            self.path,
            durability="relaxed",
            maintenance=False,
            timeout=0.5,
            threads=1,
            clock=lambda: self.clock[0] / MICRO,
        )
        if self.budget is not None:
            self.db._backend._parts.budget = self.budget

    def perform(self, verb: str, name: str, given: dict[str, Any], now: int) -> Any:
        """Return the plain answer, or ("error", class name)."""
        self.clock[0] = now
        try:
            return getattr(self, f"_{verb}")(name, **given)
        except vicinal.VicinalError as error:
            return ("error", type(error).__name__, str(error))

    def _create(self, name: str, fields: dict[str, tuple[int, str, str]]) -> None:
        specs = {key: dict(zip(("dim", "dtype", "metric"), spec, strict=True)) for key, spec in fields.items()}
        self.db.collection(name, vectors=specs)

    def _drop(self, name: str) -> None:
        self.db.drop(name)

    def _rename(self, name: str, new_name: str) -> None:
        self.db.rename(name, new_name)

    def _sweep(self, name: str) -> None:
        while maintenance.step(self.db._backend._pool, self.db._backend._now):
            pass

    def _compact(self, name: str) -> None:
        self.db.compact()

    def _verify(self, name: str) -> list[str]:
        return list(self.db.verify().problems)

    def _add(self, name: str, *, n: int, generated: object = None, **given: Any) -> Any:
        return self.db.collection(name).add(**given)

    def _upsert(self, name: str, *, n: int, generated: object = None, **given: Any) -> Any:
        return self.db.collection(name).upsert(**given)

    def _update(self, name: str, **given: Any) -> int:
        return self.db.collection(name).update(**given)

    def _patch(self, name: str, **given: Any) -> int:
        return self.db.collection(name).update(**given)

    def _delete(self, name: str, **given: Any) -> int:
        return self.db.collection(name).delete(**given)

    def _get(self, name: str, **given: Any) -> Any:
        return report(self.db.collection(name).get(include=ALL, **given))

    def _count(self, name: str, where: Any) -> int:
        return self.db.collection(name).count(where)

    def _contains(self, name: str, identity: Any) -> bool:
        return identity in self.db.collection(name)

    def _search(self, name: str, query: Any, **given: Any) -> Any:
        hits = self.db.collection(name).search(query, **given)
        assert len(hits.ids) == len(hits.distances) == len(hits.documents)
        return list(zip(hits.distances.tolist(), hits.ids, strict=True))

    def _search_batch(self, name: str, queries: Any, **given: Any) -> Any:
        return unpadded(self.db.collection(name).search_batch(queries, arrays=True, **given))


def unpadded(found: vicinal.BatchHits) -> list[list[tuple[float, Any]]]:
    """Return the answers of a batch without what fills them up."""
    lines = zip(found.distances.tolist(), found.ids.tolist(), strict=True)
    return [[pair for pair in zip(*line, strict=True) if pair[0] != np.inf] for line in lines]


class Foreign:
    """The engine's functions on a connection that somebody else owns and runs SQL on."""

    def __init__(self, path: str, parts: Parts) -> None:
        self.connection = apsw.Connection(path)
        self.connection.set_busy_timeout(500)
        self.connection.execute("pragma synchronous = off")
        self.session = Session(self.connection, path=path, read_only=False)
        self.parts = parts

    def perform(self, verb: str, name: str, given: dict[str, Any], now: int) -> Any:
        """Return the plain answer, or ("error", class name)."""
        try:
            with self.session.reading() if verb in READS else self.session.writing():
                record = catalog.find(self.session, name)
                if record is None:
                    return ("error", "NotFound", "no such collection")
                seen = view.View(self.session, record, self.parts, now)
                return getattr(self, f"_{verb}")(seen, **given)
        except vicinal.VicinalError as error:
            return ("error", type(error).__name__, str(error))

    def _batch(self, seen: view.View, given: dict[str, Any]) -> Any:
        given = {key: value for key, value in given.items() if key not in ("n", "generated", "unset")}
        return prepare(info_of(seen.record), Columns(**given), now=seen.now)

    def _add(self, seen: view.View, **given: Any) -> Any:
        return write.add(self.session, seen.record, self._batch(seen, given), now=seen.now)

    def _upsert(self, seen: view.View, **given: Any) -> Any:
        return write.upsert(self.session, seen.record, self._batch(seen, given), now=seen.now)

    def _update(self, seen: view.View, unset: Any, **given: Any) -> int:
        batch = vicinal.intake.with_unset(self._batch(seen, given), tuple(unset))
        return write.update(self.session, seen.record, batch, now=seen.now)

    def _patch(self, seen: view.View, where: Any, metadata: Any, unset: Any, ttl: Any) -> int:
        times = expiries(None, ttl, 1, seen.now)
        return write.patch_rows(
            self.session,
            seen.record,
            seen.passing_numbers(where),
            patch=encode_metadata(metadata, "metadata"),
            unset=unset,
            expires=times[0] if times else None,
            set_expires=times is not None,
        )

    def _delete(self, seen: view.View, ids: Any, where: Any) -> int:
        if ids is None:
            return write.delete_rows(self.session, seen.record, seen.passing_numbers(where))
        only = None if where is None else set(seen.passing_numbers(where).tolist())
        return write.delete_ids(self.session, seen.record, ids, now=seen.now, only=only)

    def _get(self, seen: view.View, ids: Any, where: Any, order_by: Any, limit: Any, offset: int) -> Any:
        wanted = None if ids is None else tuple(ids)
        order = check_order(order_by)
        request = GetRequest(ids=wanted, where=where, order_by=order, limit=limit, offset=offset, include=ALL)
        return report(read.get(seen, request))

    def _count(self, seen: view.View, where: Any) -> int:
        return read.count(seen, where)

    def _contains(self, seen: view.View, identity: Any) -> bool:
        return read.exists(seen, identity)

    def _search(self, seen: view.View, query: Any, **given: Any) -> Any:
        return self._search_batch(seen, query[None], **given)[0]

    def _search_batch(self, seen: view.View, queries: Any, using: str, k: int, where: Any) -> Any:
        entry = seen.record.field_named(using)
        request = SearchRequest(vectors=queries, k=k, where=where, include=())
        return unpadded(search.search_arrays(seen, entry, request, 1, search.Trace()))


class Remote:
    """Another process with a database of its own on the file."""

    def __init__(self, path: str, *, small: bool, coded: bool = False) -> None:
        self.pipe, theirs = Pipe()
        handle = theirs.fileno()
        worlds = [name for name, chosen in (("small", small), ("coded", coded)) if chosen]
        program = [sys.executable, str(Path(__file__)), str(handle), path, *worlds]
        self.process = Popen(program, pass_fds=[handle])
        theirs.close()

    def perform(self, *call: Any) -> Any:
        self.pipe.send(call)
        return self.pipe.recv()

    def close(self) -> None:
        self.pipe.close()
        assert self.process.wait(20) == 0


def serve(handle: int, path: str, worlds: list[str]) -> None:
    """Answer calls until the other end is closed."""
    if "small" in worlds:
        small_world(setattr)
    if "coded" in worlds:
        coded_world(setattr)
    pipe, actor = Connection(handle), Local(path, [0])
    with actor.db:
        while True:
            try:
                call = pipe.recv()
            except EOFError:
                return
            pipe.send(actor.perform(*call))


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
