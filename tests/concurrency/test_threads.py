"""Threads and tasks on one database: nothing leaks between them, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vicinal
from vicinal.errors import Closed, InvalidInput, Locked

STORM = """
import sys, threading, numpy as np, vicinal
from vicinal.engine import maintainer
maintainer._IDLE_SECONDS = 0.0
db = vicinal.connect(sys.argv[1], timeout=30)
docs = db.collection("docs", dim=8, metric="l2")
db.execute("create table notes(thread integer, n integer)")
failures = []
def vector(thread, n):
    return [float(thread), float(n)] + [0.0] * 6
def work(thread):
    chance = np.random.default_rng(thread)
    mine = {}
    try:
        for n in range(40):
            ids = [f"{thread}-{n}-{at}" for at in range(4)]
            with db.transaction() as tx:
                docs.add(ids=ids, vectors=[vector(thread, n)] * 4, metadata=[{"thread": thread, "n": n}] * 4)
                tx.execute("insert into notes values (?, ?)", (thread, n))
                assert docs.count(where={"thread": thread, "n": n}) == 4
            mine.update(dict.fromkeys(ids, n))
            hits = docs.search(vector(thread, n), k=4)
            assert sorted(hits.ids) == ids and not hits.distances.any(), (thread, n, hits)
            gone = [str(id) for id in chance.choice(sorted(mine), 1 + n % 2, replace=False)]
            docs.delete(gone)
            for id in gone:
                del mine[id]
            some = [str(id) for id in chance.choice(sorted(mine), 2, replace=False)]
            docs.update(ids=some, metadata={"seen": n})
            assert [row.metadata["seen"] for row in docs.get(some)] == [n, n]
            assert docs.count(where={"thread": thread}) == len(mine)
            for rows in docs.iterate(batch_size=100):
                assert len(set(rows.ids)) == len(rows)
    except BaseException as error:
        failures.append(error)
        raise
    results[thread] = set(mine)
results = {}
threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failures, failures
assert set(docs.get(include=()).ids) == set().union(*results.values())
assert db.execute("select count(*) from notes") == [(320,)]
assert db.verify().ok, db.verify().problems
db.close()
print("done")
"""


def test_eight_threads_do_everything_at_once(tmp_path):
    source = str(Path(vicinal.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", STORM, str(tmp_path / "app.db")],
        env={**os.environ, "PYTHONPATH": source, "PYTHONDEVMODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert not done.stderr


@pytest.fixture
def db(tmp_path):
    with vicinal.connect(tmp_path / "app.db", timeout=5, maintenance=False) as found:
        found.collection("docs", dim=2).add(ids=["first"], vectors=[[1, 2]])
        yield found


def seen_by_another_thread(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_transaction_is_seen_by_its_own_thread_alone(db, end):
    docs = db.collection("docs")
    with contextlib.suppress(ZeroDivisionError), db.transaction():
        docs.add(ids=["mine"], vectors=[[3, 4]], metadata=[{"x": 1}])
        docs.delete(["first"])
        db.collection("new", dim=2)
        assert docs.get().ids == docs.search([3, 4]).ids == docs.get(where={"x": 1}).ids == ["mine"]
        for call in (lambda: docs.get().ids, lambda: docs.search([3, 4]).ids):
            assert seen_by_another_thread(call) == ["first"]
        assert seen_by_another_thread(lambda: docs.count(where={"x": 1})) == 0
        assert seen_by_another_thread(db.collections) == ["docs"]
        if end == "rollback":
            raise ZeroDivisionError
    expected = ["mine"] if end == "commit" else ["first"]
    assert docs.get().ids == docs.search([3, 4]).ids == seen_by_another_thread(lambda: docs.get().ids) == expected


def test_a_write_of_another_thread_waits_for_the_transaction(db):
    docs, order = db.collection("docs"), []

    def add():
        docs.add(ids=["other"], vectors=[[1, 2]])
        order.append("other")

    thread = threading.Thread(target=add)
    with db.transaction():
        docs.add(ids=["mine"], vectors=[[1, 2]])
        thread.start()
        time.sleep(0.1)
        assert "other" not in docs
        order.append("mine")
    thread.join()
    assert order == ["mine", "other"]
    assert docs.get().ids == ["first", "mine", "other"]


def test_a_thread_that_waits_too_long_is_told_who_writes(tmp_path):
    with vicinal.connect(tmp_path / "app.db", timeout=0.2) as db:
        docs = db.collection("docs", dim=2)

        def late():
            started = time.monotonic()
            with pytest.raises(Locked, match=r"another thread or task of this process.*0\.2 s.*timeout="):
                docs.add(vectors=[[1, 2]])
            return time.monotonic() - started

        with db.transaction():
            assert 0.15 < seen_by_another_thread(late) < 0.6
        docs.add(vectors=[[1, 2]])
        assert len(docs) == 1


def test_tasks_do_not_see_each_others_transactions(db):
    docs = db.collection("docs")
    begun, looked = asyncio.Event(), asyncio.Event()

    async def writer():
        with db.transaction():
            docs.add(ids=["mine"], vectors=[[1, 2]])
            begun.set()
            await looked.wait()
            assert "mine" in docs
            assert await asyncio.to_thread(docs.count) == 1  # another thread, so outside
            assert await asyncio.create_task(inside()) == ["first"]

    async def inside():
        return docs.get().ids

    async def reader():
        await begun.wait()
        assert docs.get().ids == ["first"]
        assert await asyncio.to_thread(docs.count) == 1
        late = asyncio.create_task(asyncio.to_thread(docs.add, ids=["late"], vectors=[[1, 2]]))
        await asyncio.sleep(0.05)
        assert not late.done()
        looked.set()
        await late

    async def both():
        await asyncio.gather(writer(), reader())

    asyncio.run(asyncio.wait_for(both(), 30))
    assert docs.get().ids == ["first", "mine", "late"]


def test_a_write_that_waits_for_its_own_transaction_is_told_so(tmp_path):
    async def inside(db, docs):
        with db.transaction():
            docs.add(ids=["mine"], vectors=[[1, 2]])
            with pytest.raises(Locked):
                await asyncio.to_thread(docs.add, ids=["never"], vectors=[[1, 2]])

    with vicinal.connect(tmp_path / "app.db", timeout=0.1) as db:
        docs = db.collection("docs", dim=2)
        asyncio.run(inside(db, docs))
        assert docs.get().ids == ["mine"]


def test_many_tasks_add_and_search(db):
    docs = db.collection("docs")

    async def one(at):
        await asyncio.to_thread(docs.add, ids=[f"{at}-{n}" for n in range(5)], vectors=[[at, 1]] * 5)
        hits = await asyncio.to_thread(docs.search, [at, 1], k=3)
        assert np.allclose(hits.distances, 0, atol=1e-5)

    async def everything():
        await asyncio.gather(*(one(at) for at in range(1, 41)))

    asyncio.run(everything())
    assert len(docs) == 201
    assert db.verify().ok


def test_sql_cannot_open_a_transaction_that_other_threads_would_join(db):
    docs = db.collection("docs")
    for sql in ("begin", "begin immediate", "savepoint mine", "begin; create table t(x)"):
        with pytest.raises(InvalidInput, match=r"db\.transaction"):
            db.execute(sql)
        assert not db._backend._pool._writer.connection.in_transaction
    docs.add(ids=["kept"], vectors=[[1, 2]])
    assert "kept" in docs


def test_closing(db):
    docs = db.collection("docs")
    with db.transaction():
        docs.add(ids=["mine"], vectors=[[1, 2]])
        with pytest.raises(InvalidInput, match="inside its own transaction"):
            db.close()
    assert "mine" in docs
    pages = docs.iterate(batch_size=1)
    next(pages)
    seen_by_another_thread(db.close)
    for call in (docs.count, lambda: docs.add(vectors=[[1, 2]]), lambda: next(pages), db.verify, db.compact):
        with pytest.raises(Closed, match="closed"):
            call()
    db.close()


def test_closing_while_threads_read_and_write(tmp_path):
    for _ in range(10):
        db = vicinal.connect(tmp_path / "app.db", timeout=5)
        docs, wrong = db.collection("docs", dim=2), []

        def work(docs=docs, wrong=wrong):
            try:
                while True:
                    docs.add(vectors=[[1, 2]])
                    docs.search([1, 2])
            except Closed:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is wrong
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)
        db.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert not wrong
    with vicinal.connect(tmp_path / "app.db") as db:
        assert db.verify().ok
