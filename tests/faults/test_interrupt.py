"""Ctrl-C at any moment: the call is done or it is not, and the database goes on."""

from __future__ import annotations

import random
import signal
import time

import pytest

import vicinal

from .harness import Worker, run_python, tiers

ADD = """
import os, signal, sys, threading, time, vicinal
chance = __import__("random").Random(int(sys.argv[2]))
n_rows = 400
vectors = [[float(at), 1.0, 2.0] for at in range(n_rows)]
interrupted = acked = 0
with vicinal.connect(sys.argv[1]) as db:
    docs = db.collection("docs", dim=3)
    for batch in range(int(sys.argv[3])):
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.012))
        try:
            try:
                ids = [f"{batch}-{at}" for at in range(n_rows)]
                docs.add(ids=ids, vectors=vectors, metadata=[{"batch": batch}] * n_rows)
                done = True
            except KeyboardInterrupt:
                done = False
                interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
        found = docs.count(where={"batch": batch})
        assert found in ((n_rows,) if done else (0, n_rows)), found
        docs.upsert(ids=["alive"], vectors=[[1, 2, 3]])
        acked += found
    assert db.verify().ok
print(interrupted, acked)
""".replace(
    "import os, signal", "import signal; signal.signal(signal.SIGALRM, signal.default_int_handler)\nimport os, signal"
)


@tiers(fast=60, full=1500)
def test_interrupted_adds_are_whole_or_absent(tmp_path, rounds):
    done = run_python(ADD, tmp_path / "app.db", rounds, rounds)
    assert done.returncode == 0, done.stderr
    interrupted, n_rows = map(int, done.stdout.split())
    assert interrupted > rounds / 10
    with vicinal.connect(tmp_path / "app.db") as db:
        assert db.collection("docs").count() == n_rows + 1


WAIT = """
import sys, vicinal
with vicinal.connect(sys.argv[1], timeout=20) as db:
    docs = db.collection("docs")
    print("ready", flush=True)
    try:
        docs.add(ids=["interrupted"], vectors=[[1, 2]])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    docs.add(ids=["after"], vectors=[[1, 2]])
    print("acknowledged", flush=True)
    input()
"""


def test_an_interrupt_while_waiting_for_the_lock_leaves_no_transaction_open(tmp_path):
    path = tmp_path / "app.db"
    with vicinal.connect(path) as db:
        docs = db.collection("docs", dim=2)
        with db.transaction():
            docs.add(ids=["first"], vectors=[[1, 2]])
            waiting = Worker("", path, code=WAIT)
            waiting.line()
            time.sleep(0.3)
            waiting.process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert waiting.line() in ("interrupted", "acknowledged")
        if waiting.lines[-1] == "interrupted":
            waiting.line()
        waiting.end()  # what was acknowledged survives even that
        assert "after" in docs
        docs.add(ids=["last"], vectors=[[1, 2]])


COMPACT = """
import signal, sys, vicinal
signal.signal(signal.SIGALRM, signal.default_int_handler)
chance = __import__("random").Random(0)
import numpy as np
with vicinal.connect(sys.argv[1], maintenance=False) as db:
    docs = db.collection("docs", dim=256)
    ids = list(range(4000))
    docs.add(ids=ids, vectors=np.random.default_rng(0).standard_normal((4000, 256)))
    interrupted = 0
    for call in (db.compact, lambda: db.verify(repair=True), lambda: db.backup(sys.argv[1] + ".copy")) * 6:
        docs.delete(chance.sample(ids, 500))
        n = docs.count()
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.02))
        try:
            try:
                call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupted += 1
        except vicinal.errors.AlreadyExists:
            pass
        assert docs.count() == n
        assert db.verify().ok
    print(interrupted)
"""


def test_interrupted_maintenance_changes_nothing(tmp_path):
    done = run_python(COMPACT, tmp_path / "app.db")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("leave", ["sys.exit(0)", "raise SystemExit(0)", "os._exit(0)", "pass"])
def test_a_process_that_ends_without_closing(tmp_path, leave):
    """The maintenance thread is at work when the interpreter ends."""
    code = f"""
import atexit, os, sys, threading, time
left = lambda: [thread.name for thread in threading.enumerate() if "vicinal" in thread.name]
atexit.register(lambda: left() and print(left(), file=sys.stderr))
import vicinal
from vicinal.engine import maintainer
maintainer._IDLE_SECONDS = 0
db = vicinal.connect(sys.argv[1])
docs = db.collection("docs", dim=64)
docs.add(ids=list(range(6000)), vectors=[[float(at)] * 64 for at in range(1, 6001)])
docs.delete(list(range(0, 6000, 2)))
time.sleep({random.Random(leave).uniform(0, 0.03)})
{leave}
"""
    done = run_python(code, tmp_path / "app.db", flags=("-X", "dev", "-W", "ignore"))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    with vicinal.connect(tmp_path / "app.db") as db:
        assert db.collection("docs").count() == 3000
        assert db.verify().ok
