"""What the processes of the fault tests do: `worker.py verb path …`, a line for each thing done."""

from __future__ import annotations

import sys
import time

import model as known

import vicinal
from vicinal.engine import maintainer
from vicinal.storage import connection


def said(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201


def ingest(path: str, compacting: str) -> None:
    """Store batches for ever; with "loop" compact after each, with "thread" in the background."""
    if compacting == "thread":
        maintainer._IDLE_SECONDS = 0.0
    with vicinal.connect(path, maintenance=compacting == "thread") as db:
        known.create(db)
        model = known.Model()
        model.advance_to(known.n_stored(db))
        said("ready")
        while True:
            batch = model.next()
            known.store(db, batch)
            model.apply(batch)
            said(model.number)
            if compacting == "loop":
                db.compact()
            elif compacting == "thread":
                time.sleep(0.01)


def backup(path: str, prefix: str) -> None:
    """Take one backup after the other, in small pieces so that a kill meets one under way."""
    with vicinal.connect(path) as db:
        said("ready")
        for number in range(10_000):
            db.backup(f"{prefix}{number}", progress=lambda _done, _total: time.sleep(0.001))
            said(number)


def repair(path: str) -> None:
    """Break what is derived, in one transaction, and repair it; again and again."""
    with vicinal.connect(path, maintenance=False) as db:
        said("ready")
        for number in range(10_000):
            session = db._backend._pool._writer
            with session.writing():
                session.run("update vicinal_chunk set live = zeroblob(length(live)), alive = 0")
            assert db.verify(repair=True).ok
            said(number)


def upsert(path: str, name: str, seconds: str, timeout: str) -> None:
    """Mix upserts of own rows and of one shared row with deletions; print what must be there."""
    end = time.monotonic() + float(seconds)
    n = locked = 0
    alive: list[str] = []
    with vicinal.connect(path, timeout=float(timeout)) as db:
        docs = db.collection("docs", dim=known.DIM)
        said("ready")
        while time.monotonic() < end:
            ids = [f"{name}-{n}-{at}" for at in range(5)]
            started = time.monotonic()
            try:
                docs.upsert(ids=[*ids, "shared"], vectors=known.vectors([*ids, name], 0), metadata=[{"by": name}] * 6)
                alive += ids
                if n % 3 == 2:
                    docs.delete(alive[:2])
                    del alive[:2]
                n += 1
            except vicinal.Locked:
                locked += 1
                assert time.monotonic() - started >= 0.9 * float(timeout)
    said("done", n, locked, *alive)


class Waiting:
    """Tells how long this process's writes wait for another connection's."""

    def __init__(self) -> None:
        self.seconds = 0.0
        asked = connection._Patience.__call__

        def timed(patience: connection._Patience, n_calls_before: int) -> bool:
            started = time.monotonic()
            goes_on = asked(patience, n_calls_before)
            self.seconds += time.monotonic() - started
            return goes_on

        connection._Patience.__call__ = timed

    def taken(self) -> float:
        """Return the seconds since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def write_pairs(path: str, seconds: str, n_rows: str, bound: str) -> None:
    """Write batches, and overwrite pairs of rows alike; print in ms the longest write, and wait for another writer."""
    end = time.monotonic() + float(seconds)
    waits, waiting, longest_wait = [], Waiting(), 0.0
    with vicinal.connect(path, maintenance=False, durability=bound) as db:
        docs, n = db.collection("docs"), int(n_rows)
        batch = docs.count() // n + 1_000_000
        said("ready")
        while time.monotonic() < end:
            ids = [f"{batch}-{at}" for at in range(n)]
            started = time.monotonic()
            docs.add(ids=ids, vectors=known.vectors(ids, 0), metadata=[{"batch": batch}] * n)
            waits.append(time.monotonic() - started)
            twin = known.vectors(["twin"], batch)
            started = time.monotonic()
            docs.upsert(ids=["left", "right"], vectors=[twin[0], twin[0]], metadata=[{"pair": batch}] * 2)
            waits.append(time.monotonic() - started)
            if batch % 2:
                started = time.monotonic()
                docs.delete(where={"batch": batch - 1})
                waits.append(time.monotonic() - started)
            longest_wait = max(longest_wait, waiting.taken())
            batch += 1
    waits.sort()
    longest, median = waits[-1], waits[len(waits) // 2]
    said("done", len(waits), *(round(1000 * each, 1) for each in (longest, median, longest_wait)))


def read_pairs(path: str, seconds: str, n_rows: str) -> None:
    """Read for a while; every batch is seen whole or not at all, and the pair is always alike."""
    end = time.monotonic() + float(seconds)
    n_reads = 0
    with vicinal.connect(path, read_only=True) as db:
        docs = db.collection("docs")
        said("ready")
        while time.monotonic() < end:
            rows = docs.get(include=("metadata",)) if n_reads % 2 else docs.search([0.0] * known.DIM, k=100_000)
            counts: dict[int, int] = {}
            pair = set()
            for metadata in rows.metadata or []:
                if "pair" in metadata:
                    pair.add(metadata["pair"])
                else:
                    counts[metadata["batch"]] = counts.get(metadata["batch"], 0) + 1
            assert set(counts.values()) <= {int(n_rows)}, counts
            assert len(pair) == 1, pair
            twins = docs.get(["left", "right"], include=("vector",))
            assert twins[0].vector.tobytes() == twins[1].vector.tobytes()
            n_reads += 1
    said("done", n_reads)


def maintain(path: str, seconds: str) -> None:
    """Compact in a loop."""
    end = time.monotonic() + float(seconds)
    steps = 0
    with vicinal.connect(path, maintenance=False) as db:
        said("ready")
        while time.monotonic() < end:
            steps += db.compact()["steps"]
    said("done", steps)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
