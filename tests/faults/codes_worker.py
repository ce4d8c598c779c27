"""What the processes of the tests of codes do: `codes_worker.py verb path …`, a line for each thing done.

Limits are so small that a few hundred rows are coded, and every search goes over codes.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
from telling import Heard, said

sys.path.append(str(Path(__file__).parents[1] / "laws"))

import coding

import vicinal
from vicinal.engine import maintainer
from vicinal.engine.codes import coder
from vicinal.storage import codes

if TYPE_CHECKING:
    from collections.abc import Callable

DIM, K = 32, 7
NAMES = ("docs", "other", "half")
WORLD = {"rows": 300, "tail": 32, "step": 200, "coarse": 900, "segment": 256, "piece": 64}


def vectors(name: str, low: int, high: int) -> np.ndarray:
    """Return the vectors of ids [low, high) of a collection; many are alike, so that there are ties."""
    seeds = np.arange(low, high) % 500
    base = np.random.default_rng(NAMES.index(name)).standard_normal((500, DIM)).astype(np.float32)
    return base[seeds]


def rows(name: str, low: int, high: int) -> dict[str, Any]:
    return {
        "ids": list(range(low, high)),
        "vectors": vectors(name, low, high),
        "metadata": [{"n": at % 10} for at in range(low, high)],
    }


def build(path: str) -> None:
    """Two collections that are coded, and one whose codes are being replaced by coarser ones."""
    with connect(path) as db:
        for name, n in (("docs", 700), ("other", 700), ("half", 800)):
            docs = db.collection(name, dim=DIM, metric="l2")
            docs.add(**rows(name, 0, n))
            docs.delete([at for at in range(n) if at % 7 == 3])
        coder._CODED_PER_WRITE = 1
        db.collection("half").add(**rows("half", 800, 1100))
        assert len(db.execute("select * from vicinal_codebook")) == 4
    said("built")


def connect(path: str | Path, **given: Any) -> vicinal.Database:
    return vicinal.connect(path, maintenance=False, durability="relaxed", threads=1, **given)


def differences(found: list[Any], wanted: list[Any]) -> str:
    """Return what is wrong with an answer, in few words."""
    at = next((at for at, (one, two) in enumerate(zip(found, wanted, strict=False)) if one != two), -1)
    extra, missing = set(found) - set(wanted), set(wanted) - set(found)
    lengths = f"{len(found)} of {len(wanted)}, {len(found) - len(set(found))} twice, first difference at {at}"
    return f"{lengths}: {found[at : at + 3]}, not {wanted[at : at + 3]}; extra {len(extra)}, missing {len(missing)}"


def expected(name: str, ids: list[int], query: np.ndarray, k: int, n: int | None) -> list[tuple[float, int]]:
    """Return the answer by NumPy alone."""
    chosen = [at for at in ids if n is None or at % 10 == n]
    every = vectors(name, 0, max(ids, default=0) + 1)[chosen]
    values = np.sqrt(((every.astype(np.float64) - query.astype(np.float64)) ** 2).sum(axis=1)).astype(np.float32)
    return sorted(zip(values.tolist(), chosen, strict=True))[:k]


def check(db: vicinal.Database, name: str, ids: list[int]) -> list[str]:
    """Assert that every kind of search is right; return what explain notes."""
    docs, chance = db.collection(name), np.random.default_rng(len(ids))
    queries = chance.standard_normal((3, DIM)).astype(np.float32)
    for k in (K, len(ids) + 5):
        for n in (None, 4):
            where = None if n is None else f"n = {n}"
            wanted = [expected(name, ids, query, k, n) for query in queries]
            for exact in (False, True):
                hits = docs.search(queries[0], k=k, where=where, exact=exact, include=())
                found = list(zip(hits.distances.tolist(), hits.ids, strict=True))
                assert found == wanted[0], (name, k, n, exact, differences(found, wanted[0]))
            batch = docs.search_batch(queries, k=k, where=where, arrays=True)
            for at, answer in enumerate(wanted):
                found = list(zip(batch.distances[at].tolist(), batch.ids[at].tolist(), strict=True))
                assert found[: len(answer)] == answer, (name, k, n, "batch", differences(found, answer))
    return list(docs.explain(queries[0], k=K).notes)


def use(path: Path, *, search_first: bool, noise: bool = False) -> list[str]:
    """Search, write, verify and maintain what was damaged: answers stay right, codes come back; return the notes."""
    heard = Heard()
    logging.getLogger("vicinal").addHandler(heard)
    notes: list[str] = []
    with connect(path) as db:
        ids = {name: sorted(db.collection(name).get(include=()).ids) for name in NAMES}
        assert [len(ids[name]) for name in NAMES] == [600, 600, 986]
        for turn, first in enumerate((3000, 3040)):
            for name in NAMES:
                if search_first or turn:
                    notes += check(db, name, ids[name])
                db.collection(name).add(**rows(name, first, first + 40))
                ids[name] += range(first, first + 40)
                notes += check(db, name, ids[name])
        report = db.verify()
        assert report.ok, report.problems
        assert not db.verify(repair=True).repaired
        db.compact()
        for name in NAMES:
            late = check(db, name, ids[name])
            assert not late, late
            ((codebook, until, written),) = coding.covered(db, name).values()
            assert codebook is not None
            assert written - until < WORLD["tail"]
            assert "code scan" in db.collection(name).explain(np.ones(DIM), k=3).plan
        assert noise or coding.untrue(db) == []
        assert db.verify().ok
    if notes:
        assert any("will be made anew" in line for line in heard.lines), (notes, heard.lines)
    logging.getLogger("vicinal").removeHandler(heard)
    return notes


# --- damage: each kind changes one thing through a raw connection


def pick(chance: random.Random, connection: apsw.Connection, table: str) -> dict[str, Any]:
    key = "key" if table == "vicinal_code" else "id"
    found = connection.execute(f"select {key} from {table} order by {key}").fetchall()
    chosen = chance.choice(found)[0]
    cursor = connection.execute(f"select * from {table} where {key} = ?", (chosen,))
    names = [column[0] for column in cursor.get_description()]
    return dict(zip(names, cursor.fetchone(), strict=True))


def put(connection: apsw.Connection, table: str, row: dict[str, Any], **values: Any) -> None:
    key = "key" if table == "vicinal_code" else "id"
    for column, value in values.items():
        connection.execute(f"update {table} set {column} = ? where {key} = ?", (value, row[key]))


def flipped(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


TABLES = ("vicinal_code", "vicinal_codebook")


def deleted(chance: random.Random, connection: apsw.Connection) -> None:
    table = chance.choice(TABLES)
    if chance.random() < 0.3:
        connection.execute(f"delete from {table}")
        return
    key = "key" if table == "vicinal_code" else "id"
    connection.execute(f"delete from {table} where {key} = ?", (pick(chance, connection, table)[key],))


def truncated(chance: random.Random, connection: apsw.Connection) -> None:
    table = chance.choice(TABLES)
    row = pick(chance, connection, table)
    column = chance.choice(["data", "digest"])
    put(connection, table, row, **{column: row[column][: chance.randrange(len(row[column]))]})


def bit_of_codes(chance: random.Random, connection: apsw.Connection) -> None:
    row = pick(chance, connection, "vicinal_code")
    column = chance.choice(["data", "digest", "count"])
    value = row[column]
    changed = value ^ (1 << chance.randrange(40)) if column == "count" else flipped(chance, value)
    put(connection, "vicinal_code", row, **{column: changed})


def bit_of_a_codebook(chance: random.Random, connection: apsw.Connection) -> None:
    row = pick(chance, connection, "vicinal_codebook")
    column = chance.choice(["data", "digest", "spec", "field"])
    match column:
        case "spec":
            changed: Any = flipped(chance, row["spec"].encode()).decode("latin-1")
        case "field":
            changed = row["field"] ^ (1 << chance.randrange(20))
        case _:
            changed = flipped(chance, row[column])
    put(connection, "vicinal_codebook", row, **{column: changed})


def other_types(chance: random.Random, connection: apsw.Connection) -> None:
    """Text, numbers and blobs where something else belongs."""
    table = chance.choice(TABLES)
    row = pick(chance, connection, table)
    column = chance.choice(["data", "digest", "count"] if table == "vicinal_code" else ["data", "digest", "spec"])
    value = chance.choice(["text", 7, -1, 2.5, b"", b"\xff", "", 2**62, 1e300])
    put(connection, table, row, **{column: value})


def crafted_codes(chance: random.Random, connection: apsw.Connection) -> str:
    """Pieces whose digest is right: too many codes, too few, none, another width, another place, noise.

    Noise cannot be told from codes; it may cost recall, and no more.
    """
    row = pick(chance, connection, "vicinal_code")
    width = len(row["data"]) // row["count"]
    kind = chance.randrange(7)
    match kind:
        case 0:
            data, count = row["data"] + bytes(width * 5000), row["count"] + 5000
        case 1:
            data, count = row["data"][:width], 1
        case 2:
            data, count = b"", 0
        case 3:
            data, count = row["data"] + b"\0" * row["count"], row["count"]
        case 4:
            data, count = row["data"], row["count"] * width
        case 5:
            data, count = chance.randbytes(len(row["data"])), row["count"]
        case _:
            data, count = row["data"], row["count"]
            shift = chance.choice([-3, 3, 10_000, 2**39])
            connection.execute("update vicinal_code set key = key + ? where key = ?", (shift, row["key"]))
            row["key"] += shift
    put(connection, "vicinal_code", row, data=data, count=count, digest=codes._digest("codes", row["key"], data))
    return "noise" if kind == 5 else ""


def craft(connection: apsw.Connection, row: dict[str, Any], data: bytes) -> None:
    digest = codes.codebook_digest(row["field"], row["id"], data) + row["digest"][16:]
    put(connection, "vicinal_codebook", row, data=data, digest=digest)


def crafted_codebook(chance: random.Random, connection: apsw.Connection) -> None:
    """Arrays whose digest is right, and which are none of a codebook."""
    row = pick(chance, connection, "vicinal_codebook")
    arrays = {name: array.copy() for name, array in codes._unpacked(row["data"]).items()}
    name = chance.choice(["centroids", "centroids", "order", "scale"])
    match name:
        case "centroids":
            value = chance.choice([np.nan, np.inf, -np.inf, 3e38, 2.0**41])
            arrays[name].reshape(-1)[chance.randrange(arrays[name].size)] = value
        case "order":
            value = chance.choice([-1, 0, DIM, 2**31 - 1, -(2**31)])
            arrays[name][chance.randrange(1, len(arrays[name]))] = value
        case "scale":
            arrays[name][0] = chance.choice([0.0, -1.0, np.nan, np.inf, 1e-300, 1e300])
    match chance.randrange(4):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = arrays[name][: chance.randrange(len(arrays[name]))]
        case 2 if name == "centroids":
            arrays[name] = arrays[name].reshape(chance.choice([(8, -1, 4), (-1, 16, 1), (-1, 8, 4), (1, 16, -1)]))
        case _:
            pass
    craft(connection, row, codes._packed(arrays))


def crafted_bytes(chance: random.Random, connection: apsw.Connection) -> None:
    """A head that describes no arrays, or such as nobody could hold."""
    row = pick(chance, connection, "vicinal_codebook")
    line, _, rest = row["data"].partition(b"\n")
    heads: list[bytes] = [
        b"",
        b"[" * 100_000,
        b"{}",
        b"[[]]",
        b"null",
        b"\xff\xfe",
        b'[["order", "<i4", [1e9]]]',
        b'[["order", "<i4", [4294967295, 4294967295, 4294967295]]]',
        b'[["order", "<i4", [-1]]]',
        b'[["order", "|O", [3]]]',
        b'[["order", ["<i4"], [3]]]',
        b'[["order", "<i4", []]]',
        b'[["order", "<i4", 3]]',
        b'[["order", "<i4", ' + b"[" + b"1," * 99 + b"1]]]",
        line.replace(b"<f4", b"<f8"),
        line.replace(b"<i4", b"<i8"),
        line + line,
    ]
    craft(connection, row, chance.choice(heads) + b"\n" + rest)


def crafted_field(chance: random.Random, connection: apsw.Connection) -> None:
    """What a field says of its codes: covered too far, not far enough, beyond all numbers; another's codebook."""
    field, codebook, covered, written = chance.choice(
        connection.execute("select id, codebook, covered, next_slot from vicinal_field order by id").fetchall()
    )
    places = [0, 1, covered - 1, covered + 1, covered // 2, written, written + 1, written + 10_000, -1, -70]
    places += [2**31, 2**39, 2**40, 2**62, 2**63 - 1, -(2**63)]
    others = [row[0] for row in connection.execute("select id from vicinal_codebook order by id") if row[0] != codebook]
    if chance.random() < 0.7:
        connection.execute("update vicinal_field set covered = ? where id = ?", (chance.choice(places), field))
    else:
        identity = chance.choice([*others, *others, 0, -1, 77, 2**40, 2**62, None])
        connection.execute("update vicinal_field set codebook = ? where id = ?", (identity, field))


def crafted_spec(chance: random.Random, connection: apsw.Connection) -> None:
    """What is said of a codebook: no JSON, other bits, figures that cannot be."""
    row = pick(chance, connection, "vicinal_codebook")
    share = [[0.5, 0.1]] * 8
    figures: dict[str, Any] = {"rows": 700, "queries": 200, "missed": {"10": share}, "expected": [0.5] * 8}
    wrong: list[dict[str, Any]] = [
        {"rows": 0},
        {"rows": 1e999},
        {"rows": "many"},
        {"queries": -1},
        {"missed": {}},
        {"missed": {"0": share}},
        {"missed": {"-3": share}},
        {"missed": {"x": share}},
        {"missed": {"10": share[:3]}},
        {"missed": {"10": [[2.0, 0.1]] * 8}},
        {"missed": {"10": [[float("nan"), 0.1]] * 8}},
        {"missed": [share]},
        {"expected": [0.5] * 3},
        {"expected": 5},
        {"expected": [None] * 8},
    ]
    known = json.loads(row["spec"])
    specs = [
        *(json.dumps({**known, "calibration": {**figures, **each}}) for each in wrong),
        *(json.dumps({**known, "calibration": each}) for each in ([], "x", 7, {})),
        *(json.dumps({**known, "bits": bits}) for bits in (0, 7, "x", None, 1, 1e999)),
        *(json.dumps({**known, "measured_at": at}) for at in ("x", None, [], -1, 1e999, 2**80)),
        *("", "[]", "null", "{", "[" * 100_000, "{}", '"bits"'),
    ]
    spec = chance.choice(specs)
    digest = row["digest"][:16] + codes._digest("spec", row["id"], spec.encode())
    put(connection, "vicinal_codebook", row, spec=spec, digest=digest)


def swapped(chance: random.Random, connection: apsw.Connection) -> None:
    """Two pieces, or two codebooks, in each other's place: of one field or of two."""
    table = chance.choice(TABLES)
    one = two = pick(chance, connection, table)
    while two == one:
        two = pick(chance, connection, table)
    columns = chance.choice([["data", "digest"], ["data"], ["digest"]])
    if table == "vicinal_code":
        columns = [*columns, "count"]
    elif chance.random() < 0.4:
        columns = ["field"]
    put(connection, table, one, **{column: two[column] for column in columns})
    put(connection, table, two, **{column: one[column] for column in columns})


KINDS: dict[str, Callable[[random.Random, apsw.Connection], str | None]] = {
    each.__name__: each
    for each in (
        *(deleted, truncated, bit_of_codes, bit_of_a_codebook, other_types, crafted_codes),
        *(crafted_codebook, crafted_bytes, crafted_field, crafted_spec, swapped),
    )
}


def repair(path: str) -> None:
    """Rows whose table of slots was damaged when codes were made have true codes after a repair."""
    with connect(path) as db:
        db.collection("docs", dim=DIM, metric="l2").add(**rows("docs", 0, 290))
    connection = apsw.Connection(path)
    connection.execute(
        "update vicinal_chunk set live = zeroblob(length(live)), alive = 0 where key = "
        "(select min(key) from vicinal_chunk)"
    )
    connection.close()
    with connect(path) as db:
        db.collection("docs").add(**rows("docs", 290, 500))
        assert db.verify(repair=True).ok
        db.compact()
        assert coding.untrue(db) == []
        check(db, "docs", list(range(500)))
    said("repaired")


def damage(path: str, kind: str, first: str, last: str) -> None:
    """Damage copies of a file in many ways, and use each; say which one before, and what was noted after."""
    for number in range(int(first), int(last)):
        said("case", number)
        copy = Path(f"{path}.{kind}.{number}")
        shutil.copy(path, copy)
        chance = random.Random(f"{kind} {number}")
        connection = apsw.Connection(str(copy))
        noise = KINDS[kind](chance, connection) == "noise"
        connection.close()
        notes = use(copy, search_first=bool(number % 2), noise=noise)
        said("notes", len(notes))
        copy.unlink()


# --- codes in the making

BATCH = 60
BLOCK = 1_000_000
"""Ids from one writer to the next."""


def grown(n: int) -> list[int]:
    """Return the ids there are after n batches: a fifth of each batch is replaced by the next one, a tenth deleted."""
    return [at for at in range(n * BATCH) if at % 10 != 9 or at >= (n - 1) * BATCH]


def store(db: vicinal.Database, number: int) -> None:
    """Store one batch in one transaction, unless a coin says that it is several calls."""
    docs = db.collection("docs")
    low = number * BATCH
    with db.transaction() as tx:
        docs.add(**rows("docs", low, low + BATCH))
        if number:
            docs.upsert(**rows("docs", low - BATCH, low - BATCH + BATCH // 5))
            docs.delete([at for at in range(low - BATCH, low) if at % 10 == 9])
        tx.execute("insert into batches values (?)", (number,))
    docs.update(ids=[low], metadata={"n": low % 10})  # its codes are made now, outside the transaction


def n_batches(db: vicinal.Database) -> int:
    return int(db.execute("select count(*) from batches")[0][0])


def opened(path: str, **given: Any) -> vicinal.Database:
    db = vicinal.connect(path, threads=1, **given)
    with db.transaction() as tx:
        db.collection("docs", dim=DIM, metric="l2")
        tx.execute("create table if not exists batches(number integer primary key)")
    return db


def grow(path: str) -> None:
    """Store batches for ever, with maintenance always awake."""
    maintainer._IDLE_SECONDS = 0.0
    with opened(path) as db:
        said("ready")
        while True:
            number = n_batches(db)
            store(db, number)
            said(number + 1)


def audit(path: str) -> None:
    """Assert that what is there is right, as it is."""
    with opened(path, maintenance=False) as db:
        number = n_batches(db)
        if number:
            check(db, "docs", grown(number))
        assert coding.untrue(db) == []
        assert db.verify().ok
        said(number)


def complete(path: str) -> None:
    """Let maintenance end what was begun: all but a tail is coded, and one codebook is left."""
    with opened(path, maintenance=False) as db:
        db.compact()
        ids = sorted(db.collection("docs").get(include=()).ids)
        assert coding.untrue(db) == []
        ((codebook, until, written),) = coding.covered(db, "docs").values()
        assert codebook is not None
        assert written - until < WORLD["tail"]
        assert db.execute("select id from vicinal_codebook") == [(codebook,)]
        assert db.execute("select count(*) from vicinal_code where key >> 40 != ?", (codebook,)) == [(0,)]
        queries = np.random.default_rng(0).standard_normal((9, DIM)).astype(np.float32)
        everything = db.collection("docs").get(include=("vector",))
        known = np.stack([row.vector for row in everything])
        for query in queries:
            hits = db.collection("docs").search(query, k=K, include=())
            exact = np.sqrt(((known.astype(np.float64) - query) ** 2).sum(axis=1)).astype(np.float32)
            assert hits.distances.tolist() == np.sort(exact)[:K].tolist()
        explained = db.collection("docs").explain(queries[0], k=K)
        assert "code scan" in explained.plan, explained
        assert db.verify().ok
        said(n_batches(db) or len(ids))


def prepare(path: str) -> None:
    opened(path).close()


def storm(path: str, name: str, seconds: str, maintained: str = "") -> None:
    """Two threads write rows of their own, two read, for some seconds; print how many rows are left."""
    maintainer._IDLE_SECONDS = 0.0
    end = time.monotonic() + float(seconds)
    failures: list[BaseException] = []
    left: dict[int, set[int]] = {}

    def write(thread: int) -> None:
        chance, docs = random.Random(thread), db.collection("docs")
        who = int(name) * 10 + thread
        first = low = who * BLOCK
        mine: set[int] = set()
        while time.monotonic() < end:
            n = chance.choice([1, 40, 150])
            ids = list(range(low, low + n))
            docs.add(ids=ids, vectors=vectors("docs", low - first, low - first + n), metadata=[{"by": who}] * n)
            low += n
            mine |= set(ids)
            gone = chance.sample(sorted(mine), n // 3)
            docs.delete(gone)
            mine -= set(gone)
            some = chance.sample(sorted(mine), min(len(mine), 5))
            docs.upsert(ids=some, vectors=vectors("docs", 0, len(some)), metadata=[{"by": who}] * len(some))
            for identity, vector in zip(some[:2], vectors("docs", 0, 2), strict=False):
                hits = docs.search(vector, k=len(mine) + 5, where={"by": who}, include=())
                assert hits.distances[hits.ids.index(identity)] == 0.0  # found at once
                assert mine == set(hits.ids)
        left[thread] = mine

    def read(thread: int) -> None:
        docs = db.collection("docs")
        queries = np.random.default_rng(thread).standard_normal((3, DIM)).astype(np.float32)
        while time.monotonic() < end:
            for query in queries:
                hits = docs.search(query, k=50, include=("vector",))
                assert len(set(hits.ids)) == len(hits)
                for hit in hits:
                    distance = np.sqrt(((hit.vector.astype(np.float64) - query) ** 2).sum())
                    assert abs(distance - hit.distance) < 1e-5
            docs.search_batch(queries, k=50, arrays=True)

    def run(work: Callable[[int], None], thread: int) -> None:
        try:
            work(thread)
        except BaseException as error:
            failures.append(error)
            raise

    with vicinal.connect(path, timeout=30, maintenance=bool(maintained)) as db:
        jobs = [(write, 1), (write, 2), (read, 3), (read, 4)]
        threads = [threading.Thread(target=run, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert coding.untrue(db) == []
    said(sum(map(len, left.values())))


def interrupted(path: str, rounds: str) -> None:
    """Interrupt writes at any moment, coding above all; print how often, and how often it was in coding."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    chance = random.Random(int(rounds))
    n_interrupted = in_coding = low = 0
    with connect(path) as db:
        docs = db.collection("docs", dim=DIM, metric="l2")
        ids: list[int] = []
        for _ in range(int(rounds)):
            batch = list(range(low, low + 150))
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.01))
                try:
                    docs.add(**rows("docs", low, low + 150))
                    docs.search(np.ones(DIM), k=K)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt as error:
                n_interrupted += 1
                names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
                in_coding += not {"after", "along"}.isdisjoint(names)
            there = docs.get(batch, include=()).ids
            assert there in ([], batch)
            ids += there
            low += 150
            assert not db._backend._coder._busy.locked()
            assert not db._backend._pool._write_lock.locked()
            gate, pool = db._backend._gate, db._backend._pool
            assert gate._places.qsize() == gate._width
            assert not any(each.connection.in_transaction for each in (*pool._idle, pool._writer))  # nothing is stale
            docs.update(ids=ids[-1:], metadata={"n": 1})
            docs.update(ids=ids[-1:], metadata={"n": ids[-1] % 10} if ids else None)
        check(db, "docs", ids)
        assert coding.untrue(db) == []
        ((codebook, until, written),) = coding.covered(db, "docs").values()
        assert codebook is not None
        assert written - until < WORLD["tail"]
        assert db.verify().ok
    said(n_interrupted, in_coding)


if __name__ == "__main__":
    coding.small_codes(setattr, **WORLD, dim=DIM)
    coding.always_codes(setattr)
    globals()[sys.argv[1]](*sys.argv[2:])
