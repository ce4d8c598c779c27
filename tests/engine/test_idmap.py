"""Ids in memory are those of the file, through every change; a search that finds all in memory reads one number."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import numpy as np
import pytest

import vicinal
from vicinal.engine import idmap
from vicinal.engine.idmap import IdMap
from vicinal.settings import Settings
from vicinal.storage import rows
from vicinal.storage.connection import locate
from vicinal.storage.pool import Pool
from vicinal.storage.session import Moved

N, DIM = 3000, 8
NAMES = {
    "int": lambda at: at * 7 - 5000,
    "str": lambda at: ("", "ä", "with, comma", "日本", "\U0001f600", "x" * 90)[at % 6] + f" {at}",
}


@pytest.fixture(params=NAMES)
def name(request):
    return NAMES[request.param]


def vectors(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def remembered(db, name="docs"):
    """Return the ids that are in memory, None where they are not."""
    with db._backend._view(name) as view:
        return view.parts.peek(view.record, "ids")


def warmed(db, docs):
    """Search until ids are in memory."""
    deadline = time.monotonic() + 30
    while remembered(db) is None:
        assert time.monotonic() < deadline
        docs.search(np.ones(DIM), k=3, include=())
        time.sleep(0.01)


def check(docs, expected):
    """Compare the ids of exact answers with NumPy's over `expected`, id -> vector."""
    names, known = list(expected), np.array(list(expected.values()))
    for query in vectors(20, seed=9):
        order = np.argsort(((known - query) ** 2).sum(1), kind="stable")[:10]
        assert docs.search(query, k=10, exact=True, include=()).ids == [names[at] for at in order]
    arrays = docs.search_batch(vectors(20, seed=9), k=10, exact=True, arrays=True)
    assert [list(ids) for ids in arrays.ids] == [
        docs.search(query, k=10, exact=True, include=()).ids for query in vectors(20, seed=9)
    ]


def test_ids_are_right_through_every_change(tmp_path, name):
    data = vectors(N + 500)
    expected = {name(at): data[at] for at in range(N)}
    with vicinal.connect(tmp_path / "a.db") as db, vicinal.connect(tmp_path / "a.db") as other:
        docs = db.collection("docs", dim=DIM, metric="l2")
        docs.add(ids=list(expected), vectors=data[:N])
        warmed(db, docs)
        check(docs, expected)

        gone = [name(at) for at in range(0, N, 3)]
        docs.delete(gone)
        for each in gone:
            del expected[each]
        check(docs, expected)

        fresh = {name(at): data[at] for at in range(N, N + 100)}
        other.collection("docs").add(ids=list(fresh), vectors=list(fresh.values()))
        expected |= fresh
        check(docs, expected)

        lost = {name(at): data[at] for at in range(N + 100, N + 200)}
        with suppress(ZeroDivisionError), db.transaction():
            docs.add(ids=list(lost), vectors=list(lost.values()))
            check(docs, expected | lost)
            1 / 0  # noqa: B018
        check(docs, expected)
        kept = {name(at): data[at] for at in range(N + 300, N + 350)}  # other ids, where the lost ones were
        docs.add(ids=list(kept), vectors=list(kept.values()))
        expected |= kept
        check(docs, expected)

        moved = {name(N + 300): data[N + 400]}
        docs.upsert(ids=list(moved), vectors=list(moved.values()))
        expected |= moved
        db.compact()
        check(docs, expected)
        assert remembered(db) is not None


def test_a_collection_dropped_and_made_anew_has_its_own_ids(tmp_path):
    with vicinal.connect(tmp_path / "a.db") as db:
        for prefix in ("first", "second"):
            docs = db.collection("docs", dim=DIM, metric="l2")
            expected = {f"{prefix} {at}": row for at, row in enumerate(vectors(N))}
            docs.add(ids=list(expected), vectors=list(expected.values()))
            warmed(db, docs)
            check(docs, expected)
            db.drop("docs")


def test_small_collections_and_small_budgets_keep_no_ids(tmp_path):
    with vicinal.connect(tmp_path / "a.db", memory_budget="1MB") as db:
        docs = db.collection("docs", dim=DIM)
        docs.add(ids=list(range(N)), vectors=vectors(N))
        few = db.collection("few", dim=DIM)
        few.add(ids=list(range(100)), vectors=vectors(100))
        for _ in range(5):
            docs.search(np.ones(DIM), include=())
            few.search(np.ones(DIM), include=())
            time.sleep(0.02)
        assert remembered(db) is None
        assert remembered(db, "few") is None


def test_unknown_rows_are_not_made_up():
    with vicinal.connect(":memory:") as db:
        docs = db.collection("docs", dim=DIM)
        docs.add(ids=[f"n{at}" for at in range(N)], vectors=vectors(N))
        docs.delete([f"n{at}" for at in range(0, N, 2)])
        with db._backend._view("docs") as view:
            numbers = rows.numbers(view.session, view.record.id)
            found = IdMap.empty(text=True).grown(view.session, view.record.id)
            assert found.ids(numbers) == rows.ids_of(view.session, view.record.id, numbers)
            assert found.ids(numbers[:0]) == []
            for strange in (numbers[0] - 1, numbers[0] + 1, numbers[-1] + 1):
                assert found.ids(np.array([numbers[3], strange])) is None
            assert idmap.ids_of(view, numbers[:3]) == ["n1", "n3", "n5"]


def test_a_search_that_finds_all_in_memory_begins_no_transaction(tmp_path):
    with vicinal.connect(tmp_path / "a.db", maintenance=False) as db:
        docs = db.collection("docs", dim=DIM)
        docs.add(ids=list(range(N)), vectors=vectors(N))
        warmed(db, docs)
        docs.search(np.ones(DIM), include=())
        [session] = db._backend._pool._idle
        run = []
        session.connection.exec_trace = lambda _cursor, sql, _bound: run.append(sql) or True
        docs.search(np.ones(DIM), include=())
        assert run == ["select stamp from vicinal_collection where name = ?"]


@pytest.fixture
def pool(tmp_path):
    pool = Pool(locate(tmp_path / "a.db", read_only=False), Settings())
    with pool.writer() as session, session.writing():
        session.run("create table t(x)")
        session.run("insert into t values (1)")
    yield pool
    pool.close()


def change(pool):
    with pool.writer() as session, session.writing():
        session.run("update t set x = x + 1")


def test_what_was_seen_at_a_glance_is_part_of_the_snapshot_or_moved(pool):
    with pool.reader() as session:
        with session.looking():
            assert session.glance("select x from t", ()) == 1
            assert not session._connection.in_transaction
            assert session.run("select x from t") == [(1,)]
            change(pool)
            assert session.run("select x from t") == [(1,)]
        with session.looking():
            assert session.glance("select x from t", ()) == 2
            change(pool)
            with pytest.raises(Moved), session.reading():
                pass
        with session.looking(), session.reading():
            assert session.run("select x from t") == [(3,)]
        with session.reading():
            assert session.glance("select x from t", ()) == 3
            with session.looking():
                change(pool)
                assert session.glance("select x from t", ()) == 3
        assert not session._connection.in_transaction


def test_searches_beside_a_writer_see_one_moment(tmp_path):
    """A row is replaced by another of the same vector, over and over: exactly one of them is there at any moment."""
    with vicinal.connect(tmp_path / "a.db") as db:
        docs = db.collection("docs", dim=DIM, metric="l2")
        target = np.full(DIM, 50.0)
        docs.add(ids=list(range(-N, 0)), vectors=vectors(N))
        docs.add(ids=[0], vectors=[target])
        warmed(db, docs)
        done, wrong, answers = threading.Event(), [], [0, 0]

        def ask(number):
            last = 0
            while not done.is_set():
                first, second = docs.search(target, k=2, include=()).ids
                if first < last or second >= 0:
                    wrong.append((last, first, second))
                last = first
                answers[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for turn in range(1, 200):
            with db.transaction():
                docs.delete([turn - 1])
                docs.add(ids=[turn], vectors=[target])
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert min(answers) > 20
