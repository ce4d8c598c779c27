"""Several processes that write: none loses anything, each waits its turn, and says so when it does not come."""

from __future__ import annotations

import random
import time

import pytest

import vicinal
from vicinal.errors import Locked

from . import model as known
from .harness import FULL, Worker, tiers


@pytest.mark.parametrize(("seconds", "timeout"), [(4, 5.0), pytest.param(30, 5.0, marks=FULL)])
def test_two_writers_lose_nothing_and_double_nothing(tmp_path, seconds, timeout):
    path = tmp_path / "app.db"
    workers = [Worker("upsert", path, name, seconds, timeout) for name in ("one", "two")]
    expected = {"shared"}
    for worker in workers:
        _, n, locked, *alive = worker.finish()[-1].split()
        assert int(n) > 10 * seconds / 4
        assert locked == "0"
        expected |= set(alive)
    with vicinal.connect(path, maintenance=False) as db:
        docs = db.collection("docs")
        ids = docs.get(include=()).ids
        assert len(ids) == len(set(ids))
        assert set(ids) == expected
        assert docs["shared"].metadata["by"] in ("one", "two")
        assert docs["shared"].vector.tobytes() == known.vector(docs["shared"].metadata["by"], 0).tobytes()
        for identity in random.Random(0).sample(sorted(expected - {"shared"}), 50):
            assert docs[identity].vector.tobytes() == known.vector(identity, 0).tobytes()
        assert db.verify().ok


HOLD = """
import sys, vicinal
with vicinal.connect(sys.argv[1]) as db, db.transaction():
    db.collection("docs", dim=64).upsert(ids=["held"], vectors=[[1.0] * 64])
    print("held", flush=True)
    input()
"""


@pytest.mark.parametrize("timeout", [0, 0.2, 0.6])
def test_a_writer_that_waited_long_enough_is_told_so(tmp_path, timeout):
    path = tmp_path / "app.db"
    with vicinal.connect(path, timeout=timeout) as db:
        docs = db.collection("docs", dim=known.DIM)
        docs.add(ids=["mine"], vectors=[known.vector("mine", 0)])
        holder = Worker("", path, code=HOLD)
        holder.line()
        for write in (
            lambda: docs.upsert(ids=["late"], vectors=[known.vector("late", 0)]),
            lambda: docs.delete(["mine"]),
            lambda: db.drop("docs"),
            lambda: db.transaction().__enter__(),
            lambda: db.execute("create table t(x)"),
        ):
            started = time.monotonic()
            with pytest.raises(Locked, match=r"being written by another connection.*timeout=") as caught:
                write()
            assert str(path) in str(caught.value)
            assert 0.8 * timeout <= time.monotonic() - started <= timeout + 0.4
        started = time.monotonic()
        assert docs.get().ids == docs.search(known.vector("mine", 0)).ids == ["mine"]
        assert time.monotonic() - started < 0.2
        holder.say("go on")
        holder.finish()
        docs.upsert(ids=["late"], vectors=[known.vector("late", 0)])
        assert docs.get().ids == ["mine", "held", "late"]


CREATE = """
import sys, time, vicinal
print("ready", flush=True)
start = float(input())
while time.time() < start:
    pass
with vicinal.connect(sys.argv[1]) as db:
    db.collection("docs", dim=4).add(vectors=[[1, 2, 3, 4]])
    db.collection(sys.argv[2], dim=4)
"""


@tiers(fast=3, full=15)
def test_processes_that_create_the_same_file_and_collection_at_once(tmp_path, rounds):
    for number in range(rounds):
        path = tmp_path / f"{number}.db"
        workers = [Worker("", path, f"own{at}", code=CREATE) for at in range(4)]
        for worker in workers:
            worker.line()
        start = time.time() + 0.05
        for worker in workers:
            worker.say(str(start))
        for worker in workers:
            worker.finish()
        with vicinal.connect(path) as db:
            assert db.collections() == ["docs", "own0", "own1", "own2", "own3"]
            assert db.collection("docs").count() == 4
            assert db.execute("pragma auto_vacuum") == [(2,)]
            assert db.verify().ok


CHURN = """
import sys, vicinal
for number in range(int(sys.argv[3])):
    with vicinal.connect(sys.argv[1]) as db:
        db.collection("docs", dim=4).add(ids=[f"{sys.argv[2]}-{number}"], vectors=[[1, 2, 3, 4]])
"""


def test_processes_that_open_and_close_all_the_time(tmp_path):
    """The last one to close removes the log, while another one opens it."""
    path = tmp_path / "app.db"
    workers = [Worker("", path, at, 60, code=CHURN) for at in range(3)]
    for worker in workers:
        worker.finish()
    with vicinal.connect(path) as db:
        assert sorted(db.collection("docs").get().ids) == sorted(f"{at}-{n}" for at in range(3) for n in range(60))
        assert db.verify().ok
