"""A graph beside the codes of `auto`: made unasked, used where it is faster, right through changes."""

from __future__ import annotations

import time

import numpy as np
import pytest

import vicinal
from vicinal import F
from vicinal.engine import maintainer
from vicinal.engine.codes import coder
from vicinal.engine.structures import beside, builder, effort
from vicinal.indexing import IndexChoice

N, DIM = 4000, 24


def vectors_of(n, seed):
    """Clustered vectors (n, DIM): 60 clusters that overlap."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((60, DIM))
    return (centres[rng.integers(0, 60, n)] + 0.7 * rng.standard_normal((n, DIM))).astype(np.float32)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """Graphs of few rows, said to be fast."""
    monkeypatch.setattr(coder, "MIN_ROWS", 1000)
    monkeypatch.setattr(beside, "MIN_ROWS", 2000)
    monkeypatch.setattr(beside, "_GRAPH", IndexChoice("hnsw", {"M": 12, "ef_construction": 80}))
    monkeypatch.setattr(effort, "_CALL_MS", -10.0)


def filled(path, **given):
    db = vicinal.connect(path, **{"maintenance": False, "durability": "relaxed", **given})
    docs = db.collection("docs", dim=DIM, metric="l2")
    docs.add(ids=list(range(N)), vectors=vectors_of(N, 1), metadata=[{"n": at % 100} for at in range(N)])
    return db, docs


def plan_of(docs, **given):
    return docs.explain(vectors_of(1, 3)[0], **given).plan


def warmed(docs, expected="hnsw"):
    """Search until the graph is in memory."""
    deadline = time.monotonic() + 30
    while expected not in plan_of(docs):
        assert time.monotonic() < deadline, plan_of(docs)
        docs.search(vectors_of(1, 3)[0], include=())
        time.sleep(0.01)


def recall(docs, expected, queries, k=10):
    """Return the recall against NumPy's answers over `expected`, id -> vector; distances must be true."""
    ids, rows = np.array(list(expected)), np.array(list(expected.values())).astype(np.float64)
    shares = []
    for query in queries:
        true = np.linalg.norm(rows - query.astype(np.float64), axis=1)
        hits = docs.search(query, k=k, include=())
        assert len(set(hits.ids)) == min(k, len(ids))
        at = {each: number for number, each in enumerate(ids.tolist())}
        assert np.allclose(hits.distances, true[[at[each] for each in hits.ids]], rtol=1e-5)
        shares.append(np.count_nonzero(hits.distances <= np.sort(true)[k - 1] * (1 + 1e-6)) / k)
    return np.mean(shares)


def test_it_is_made_by_maintain_and_not_by_compact(tmp_path):
    db, docs = filled(tmp_path / "a.db")
    with db:
        db.compact()
        assert db.execute("select count(*) from vicinal_structure") == [(0,)]
        db.maintain()
        warmed(docs)
        assert docs.explain(vectors_of(1, 3)[0]).recall > 0.9
        assert recall(docs, dict(enumerate(vectors_of(N, 1))), vectors_of(60, 2)) >= 0.93
        batch = docs.search_batch(vectors_of(60, 2), k=10, include=())
        assert [hits.ids for hits in batch] == [docs.search(q, k=10, include=()).ids for q in vectors_of(60, 2)]
        for other in ({"where": F("n") < 60}, {"exact": True}, {"effort": {"depth": 50}}):
            assert "hnsw" not in plan_of(docs, **other)
        made = db.execute("select id from vicinal_structure")
        db.maintain()
        assert db.execute("select id from vicinal_structure") == made


def test_the_file_holds_links_and_no_codes_for_the_walk(tmp_path):
    db, _ = filled(tmp_path / "a.db")
    with db:
        db.maintain()
        [(pieces,)] = db.execute("select sum(length(data)) from vicinal_piece")
        assert pieces < N * (8 + 12 * 9)


def test_changes_are_seen_at_once(tmp_path):
    db, docs = filled(tmp_path / "a.db")
    expected = dict(enumerate(vectors_of(N, 1)))
    with db:
        db.maintain()
        warmed(docs)
        fresh = vectors_of(300, 5)
        for at in range(3):
            docs.add(ids=[N + at], vectors=fresh[at : at + 1])
            expected[N + at] = fresh[at]
            assert docs.search(fresh[at], k=1, include=()).ids == [N + at]
            assert "hnsw" in plan_of(docs)
        docs.delete(list(range(0, N, 4)))
        for at in range(0, N, 4):
            del expected[at]
        docs.upsert(ids=[1, 2, 3], vectors=fresh[100:103])
        expected |= {1: fresh[100], 2: fresh[101], 3: fresh[102]}
        assert "hnsw" in plan_of(docs)
        assert recall(docs, expected, vectors_of(60, 2)) >= 0.93
        db.compact()
        assert recall(docs, expected, vectors_of(60, 2)) >= 0.93


def test_it_is_there_after_opening_in_another_process_too(tmp_path):
    db, docs = filled(tmp_path / "a.db")
    with db, vicinal.connect(tmp_path / "a.db", maintenance=False) as other:
        db.maintain()
        warmed(other.collection("docs"))
    with vicinal.connect(tmp_path / "a.db", maintenance=False) as db:
        docs = db.collection("docs")
        assert "hnsw" not in plan_of(docs)  # the first search does not wait for it
        warmed(docs)
        assert recall(docs, dict(enumerate(vectors_of(N, 1))), vectors_of(60, 2)) >= 0.93


def test_it_is_made_in_the_background_when_nothing_is_written(tmp_path, monkeypatch):
    for module, name in (
        (maintainer, "_IDLE_SECONDS"),
        (maintainer, "_POLL_SECONDS"),
        (builder, "_STILL_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.05)
    db, docs = filled(tmp_path / "a.db", maintenance=True)
    with db:
        warmed(docs)


def test_the_background_waits_until_no_process_writes(tmp_path, monkeypatch):
    for name in ("_IDLE_SECONDS", "_POLL_SECONDS"):
        monkeypatch.setattr(maintainer, name, 0.02)
    monkeypatch.setattr(builder, "_STILL_SECONDS", 1.0)
    db, _ = filled(tmp_path / "a.db", maintenance=True)
    with db, vicinal.connect(tmp_path / "a.db", maintenance=False) as other:
        docs, until = other.collection("docs"), time.monotonic() + 3
        written = time.monotonic()
        while time.monotonic() < until:
            docs.add(ids=[time.monotonic_ns()], vectors=vectors_of(1, 5))
            written = time.monotonic()
            time.sleep(0.2)
        assert db.execute("select count(*) from vicinal_structure") == [(0,)]
        warmed(db.collection("docs"))
        assert time.monotonic() - written > 0.9


def test_what_does_not_pay_is_remembered_and_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(effort, "_CALL_MS", 1e6)
    db, docs = filled(tmp_path / "a.db")
    with db:
        db.maintain()
        assert db.execute("select count(*) from vicinal_structure") == [(1,)]
        assert db.execute("select count(*) from vicinal_piece") == [(0,)]
        made = db.execute("select id from vicinal_structure")
        db.maintain()
        assert db.execute("select id from vicinal_structure") == made
        for _ in range(5):
            docs.search(vectors_of(1, 3)[0], include=())
            time.sleep(0.02)
            assert "hnsw" not in plan_of(docs)
        assert docs.explain(vectors_of(1, 3)[0]).notes == ()


def test_memory_must_have_room(tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "_ROOM", N * DIM * 4.5 / 2**20)
    db, _ = filled(tmp_path / "a.db", memory_budget="1MB")
    with db:
        db.maintain()
        assert db.execute("select count(*) from vicinal_structure") == [(0,)]


def test_another_choice_removes_it(tmp_path):
    db, docs = filled(tmp_path / "a.db")
    with db:
        db.maintain()
        warmed(docs)
        docs.index("scan")
        assert db.execute("select count(*) from vicinal_structure") == [(0,)]
        assert "hnsw" not in plan_of(docs)
        docs.index("auto")
        assert db.execute("select count(*) from vicinal_structure") == [(0,)]
        db.maintain()
        warmed(docs)


def test_queries_from_elsewhere_are_answered_by_the_codes(tmp_path):
    db, docs = filled(tmp_path / "a.db")
    with db:
        db.maintain()
        warmed(docs)
        far = 40 * vectors_of(1, 3)[0]
        found = docs.explain(far)
        assert any("unusually far" in note for note in found.notes)
        truth = np.linalg.norm(vectors_of(N, 1).astype(np.float64) - far, axis=1)
        hits = docs.search(far, k=10, include=())
        assert np.count_nonzero(hits.distances <= np.sort(truth)[9] * (1 + 1e-6)) >= 9
