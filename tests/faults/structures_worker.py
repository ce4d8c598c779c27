"""What the processes of the tests of graphs and lists do: `structures_worker.py verb path …`."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from telling import Heard, said

import vicinal
from vicinal.engine import lease
from vicinal.engine.codes import coder
from vicinal.engine.structures import beside, building, effort
from vicinal.indexing import IndexChoice
from vicinal.storage import structures

DIM, N = 16, 1400
PARAMETERS = {"hnsw": {"M": 8, "ef_construction": 40}, "ivf": {"nlist": 16}, "scann": {"nlist": 16, "bits": 2}}


def vectors(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((20, DIM))
    return (centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, DIM))).astype(np.float32)


def connect(path: str | Path, **given: Any) -> vicinal.Database:
    return vicinal.connect(path, maintenance=False, durability="relaxed", threads=1, **given)


def build(path: str, kind: str) -> None:
    """Two collections of the kind; some rows were deleted and some added since."""
    structures.PIECE_BYTES = 16 << 10
    with connect(path) as db:
        for name, seed in (("docs", 1), ("other", 2)):
            docs = db.collection(name, dim=DIM, metric="l2")
            docs.add(ids=list(range(N)), vectors=vectors(N, seed))
            made(db, docs, kind)
            docs.delete(list(range(0, N, 20)))
            docs.add(ids=list(range(N, N + 30)), vectors=vectors(30, seed + 10))
    said("built")


def made(db: vicinal.Database, docs: vicinal.Collection, kind: str) -> None:
    if kind == "beside":
        db.maintain()
    else:
        docs.index(kind, **PARAMETERS[kind])


def notes_of(docs: vicinal.Collection) -> list[str]:
    """Return what a search says of an index that it could not use."""
    return [note for note in docs.explain(vectors(1, 5)[0]).notes if "unusually far" not in note]


def is_used(docs: vicinal.Collection, kind: str) -> bool:
    """Return whether a search goes by the index; what stands beside codes is loaded in the background."""
    deadline = time.monotonic() + 5
    while True:
        found = docs.explain(vectors(1, 5)[0])
        left = any("unusually far" in note for note in found.notes)  # by a graph that was made to mislead
        used = left or ("hnsw" if kind == "beside" else kind) in found.plan
        if used or notes_of(docs) or kind != "beside" or time.monotonic() > deadline:
            return used
        docs.search(vectors(1, 5)[0])
        time.sleep(0.005)


def check(db: vicinal.Database, name: str, kind: str, seed: int, least: float) -> bool:
    """Assert that answers are whole, that distances are true, and that recall is at least so much; whether by kind."""
    docs = db.collection(name)
    ids = [*(at for at in range(N) if at % 20), *range(N, N + 30)]
    rows = np.concatenate([vectors(N, seed), vectors(30, seed + 10)])
    shares = []
    for query in vectors(6, 77):
        true = np.linalg.norm(rows.astype(np.float64) - query, axis=1)
        hits = docs.search(query, k=10, include=())
        assert len(hits) == len(set(hits.ids)) == 10
        assert set(hits.ids) <= set(ids)
        assert np.allclose(hits.distances, true[hits.ids], rtol=1e-6)
        assert (np.diff(hits.distances) >= 0).all()
        shares.append(np.count_nonzero(hits.distances <= np.sort(true[ids])[9] * (1 + 1e-6)) / 10)
        every = docs.search(query, k=N + 30, include=())
        assert sorted(every.ids) == ids
    assert np.mean(shares) >= least, np.mean(shares)
    return is_used(docs, kind)


# --- damage: each changes one thing through a raw connection; whether searches may be worse for it


def flipped(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def pick(chance: random.Random, connection: apsw.Connection) -> tuple[int, bytes, bytes]:
    return chance.choice(connection.execute("select key, data, digest from vicinal_piece order by key").fetchall())


def broken(chance: random.Random, connection: apsw.Connection) -> bool:  # noqa: C901, PLR0912 - a table of cases
    """What was not written by vicinal: digests tell."""
    key, data, digest = pick(chance, connection)
    other = pick(chance, connection)
    while other[0] == key:
        other = pick(chance, connection)
    identity, spec = chance.choice(connection.execute("select id, spec from vicinal_structure order by id").fetchall())
    junk = chance.choice([None, "text", 7, -1, 2.5, b"", "[" * 100_000])
    match chance.randrange(12):
        case 0:
            connection.execute("delete from vicinal_piece where key = ?", (key,))
        case 1:
            connection.execute("delete from vicinal_piece")
        case 2:
            connection.execute("delete from vicinal_structure where id = ?", (identity,))
        case 3:
            connection.execute("update vicinal_piece set data = ? where key = ?", (data[:-7], key))
        case 4:
            connection.execute("update vicinal_piece set data = ? where key = ?", (flipped(chance, data), key))
        case 5:
            connection.execute("update vicinal_piece set digest = ? where key = ?", (flipped(chance, digest), key))
        case 6:
            changed = flipped(chance, spec.encode()).decode("latin-1")
            connection.execute("update vicinal_structure set spec = ? where id = ?", (changed, identity))
        case 7:
            connection.execute(
                "update vicinal_piece set data = ? where key = ?", (junk if junk is not None else b"x", key)
            )
        case 8:
            connection.execute("update vicinal_structure set spec = ? where id = ?", (junk or "", identity))
        case 9:
            connection.execute("update vicinal_piece set data = ?, digest = ? where key = ?", (*other[1:], key))
            connection.execute("update vicinal_piece set data = ?, digest = ? where key = ?", (data, digest, other[0]))
        case 10:
            connection.execute(
                "update vicinal_field set structure = structure + ?", (chance.choice([1, -1, 77, 2**61]),)
            )
        case _:
            connection.execute("update vicinal_piece set key = key + 1000 where key = ?", (key,))
    return False


def crafted(chance: random.Random, connection: apsw.Connection) -> bool:
    """Arrays and words with the right digests: nothing tells that they are wrong, and nothing may crash."""
    identity, field, text = chance.choice(
        connection.execute("select id, field, spec from vicinal_structure order by id").fetchall()
    )
    spec = json.loads(text)
    pieces = connection.execute("select data from vicinal_piece where key >> 40 = ? order by key", (identity,))
    whole = b"".join(data for (data,) in pieces)
    arrays, at = {}, 0
    for name, dtype, shape in spec["arrays"]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays[name] = np.frombuffer(whole[at : at + size], dtype).reshape(shape).copy()
        at += size
    name = chance.choice(sorted(arrays))
    array = arrays[name]
    match chance.randrange(8):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = array[: chance.randrange(len(array) + 1)]
        case 2:
            noise = np.random.default_rng(chance.randrange(99)).integers(0, 256, array.nbytes, np.uint8)
            arrays[name] = noise.tobytes()
            arrays[name] = np.frombuffer(noise.tobytes(), array.dtype).reshape(array.shape)
        case 3:
            arrays[name] = array.astype(chance.choice(["<i8", "<f4", "|u1"]))
        case 4:
            value: Any = chance.choice([-1, 0, 2**31 - 1, -(2**31), 255])
            flat = array.reshape(-1)
            flat[chance.randrange(len(flat))] = np.array(value).astype(array.dtype)
        case 5:
            spec["covered"] = chance.choice([0, 1, N // 2, 10 * N, 2**39, 2**62, -5, "x", None])
        case 6:
            wrong = [{}, {"levels": []}, {"levels": [5, 1]}, {"ms": [1e999]}, {"missed": {"10": []}}, {"queries": -1}]
            spec["efforts"] = {**spec["efforts"], **chance.choice(wrong)} if chance.random() < 0.8 else 7
        case _:
            key = chance.choice(["kind", "parameters", "rows", "arrays"])
            spec[key] = chance.choice(
                [None, 7, "hnsw", "ivf", [], {}, [["slots", "<i8", [2**39]]], [["slots", "|O", [3]]]]
            )
    if spec.get("arrays") and isinstance(spec["arrays"], list) and len(spec["arrays"]) > 1:
        packed = structures.Packed.of(arrays)
        spec["arrays"] = packed.head
        connection.execute("delete from vicinal_piece where key >> 40 = ?", (identity,))
        for number, data in enumerate(packed.pieces()):
            key = (identity << 40) + number
            row = (key, data, structures._digest(f"piece {key}", data))
            connection.execute("insert into vicinal_piece values (?, ?, ?)", row)
    text = json.dumps(spec)
    digest = structures._digest(f"structure {identity} of {field}", text.encode())
    connection.execute("update vicinal_structure set spec = ?, digest = ? where id = ?", (text, digest, identity))
    return True


def damage(path: str, kind: str, first: str, last: str) -> None:
    """Damage copies of a file in many ways, and use each: answers stay right, and the index comes back."""
    structures.PIECE_BYTES = 16 << 10
    heard = Heard()
    logging.getLogger("vicinal").addHandler(heard)
    for number in range(int(first), int(last)):
        said("case", number)
        copy = Path(f"{path}.{number}")
        shutil.copy(path, copy)
        chance = random.Random(f"{kind} {number}")
        connection = apsw.Connection(str(copy))
        unseen = (crafted if number % 2 else broken)(chance, connection)
        connection.close()
        heard.lines.clear()
        with connect(copy) as db:
            noted = 0
            for name, seed in (("docs", 1), ("other", 2)):
                good = check(db, name, kind, seed, 0.0 if unseen else 0.9)
                notes = notes_of(db.collection(name))
                assert good or notes, (name, "neither used nor noted")
                noted += bool(notes)
            assert unseen or noted
            assert not noted or any("will be made anew" in line for line in heard.lines)
            assert db.verify().ok
            db.maintain()
            for name, seed in (("docs", 1), ("other", 2)):
                assert check(db, name, kind, seed, 0.0 if unseen and not noted else 0.9), "not made anew"
            ((pieces, known),) = db.execute(
                "select (select count(distinct key >> 40) from vicinal_piece), (select count(*) from vicinal_structure)"
            )
            assert (pieces, known) == (2, 2)
        said("noted", noted)
        copy.unlink()


# --- builds that are killed, and two processes


def prepare(path: str, kind: str) -> None:
    with connect(path) as db:
        docs = db.collection("docs", dim=DIM, metric="l2")
        docs.add(ids=list(range(N)), vectors=vectors(N, 1))
        docs.delete(list(range(0, N, 20)))
        docs.add(ids=list(range(N, N + 30)), vectors=vectors(30, 11))
        if kind != "beside":
            docs.index("flat")
    said(kind)


def slow(path: str, kind: str, stage: str) -> None:
    """Build, and stop at a stage for ever: after so many pieces, or just before it is published."""
    structures.PIECE_BYTES = 4 << 10
    building._STAGED_BYTES = 4 << 10
    lease.SECONDS = 1.0
    usual, left = building.Building._store, [int(stage)]

    def store(self: building.Building, identity: int, pieces: list[tuple[int, bytes]]) -> None:
        if left[0] == 0:
            said("stopped")
            threading.Event().wait()
        left[0] -= 1
        usual(self, identity, pieces)

    def publish(*_: object) -> bool:
        said("stopped")
        threading.Event().wait()
        return False

    building.Building._store = store  # type: ignore[method-assign]
    building.Building._publish = publish  # type: ignore[method-assign, assignment]
    with connect(path) as db:
        said("begun", os.getpid())
        made(db, db.collection("docs"), kind)


def audit(path: str, kind: str) -> None:
    """Assert that a killed build harms nothing, and that maintenance removes it and builds."""
    structures.PIECE_BYTES = 4 << 10
    lease.SECONDS = 1.0
    with connect(path, timeout=10) as db:
        docs = db.collection("docs")
        assert not check(db, "docs", kind, 1, 1.0)
        deadline = time.monotonic() + 20
        while not is_used(docs, kind) and time.monotonic() < deadline:
            db.maintain()  # builds once the lease of the dead has run out
            time.sleep(0.1)
        assert check(db, "docs", kind, 1, 0.9)
        assert db.execute("select count(distinct key >> 40) from vicinal_piece") == [(1,)]
        assert db.execute("select count(*) from vicinal_structure") == [(1,)]
        assert db.verify().ok
    said("good")


def race(path: str, kind: str) -> None:
    """Build at the time that is told on stdin, like others; say whether it was done here."""
    with connect(path, timeout=30) as db:
        said("ready")
        sys.stdin.readline()
        said(db.collection("docs").index(kind, **PARAMETERS[kind])["rows"])
        assert check(db, "docs", kind, 1, 0.9)


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    if "beside" in arguments:  # graphs beside codes, of so few rows
        coder.MIN_ROWS = beside.MIN_ROWS = 1000
        beside._GRAPH = IndexChoice("hnsw", PARAMETERS["hnsw"])
        effort._CALL_MS = -10.0
    {"build": build, "damage": damage, "prepare": prepare, "slow": slow, "audit": audit, "race": race}[verb](*arguments)
