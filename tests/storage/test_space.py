"""Space comes back: after deletions, after drops, when rows expire; and small collections stay small."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

import vicinal
from vicinal.engine import maintainer

DIM = 128
N_ROWS = 12_000


def fill(db, name, vectors, ids):
    docs = db.collection(name, dim=DIM)
    for start in range(0, len(ids), 1000):
        part = ids[start : start + 1000]
        docs.add(ids=part, vectors=vectors[start : start + 1000], metadata=[{"n": at} for at in part])
    return docs


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((N_ROWS, DIM)).astype(np.float32)


def fresh_bytes(tmp_path, vectors, ids):
    with vicinal.connect(tmp_path / "fresh.db", maintenance=False, durability="relaxed") as db:
        fill(db, "docs", vectors, ids)
        db.compact()
    return (tmp_path / "fresh.db").stat().st_size


def churn(docs, vectors):
    """Delete half of the rows and overwrite a third of what is left, at random; return what is left."""
    chance = random.Random(0)
    ids = list(range(N_ROWS))
    chance.shuffle(ids)
    docs.delete(ids[: N_ROWS // 2])
    left = ids[N_ROWS // 2 :]
    again = chance.sample(left, int(0.3 * len(left)))
    docs.upsert(ids=again, vectors=vectors[again], metadata=[{"n": at} for at in again])
    return sorted(left)


def test_compacting_gives_the_space_back(tmp_path, vectors):
    path = tmp_path / "app.db"
    with vicinal.connect(path, maintenance=False, durability="relaxed") as db:
        docs = fill(db, "docs", vectors, list(range(N_ROWS)))
        left = churn(docs, vectors)
        result = db.compact()
        assert result["bytes_after"] < result["bytes_before"]
        assert docs.count() == len(left)
        hits = docs.search(vectors[left[7]], k=1)
        assert hits.ids == [left[7]]
        assert db.verify().ok
        size = path.stat().st_size
        assert path.with_name("app.db-wal").stat().st_size == 0
    fresh = fresh_bytes(tmp_path, vectors[left], left)
    print(f"after churn and compact: {size / fresh:.2f} of a fresh import")  # noqa: T201
    assert size <= 1.25 * fresh


def test_the_background_thread_gives_the_space_back_by_itself(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(maintainer, "_IDLE_SECONDS", 0.05)
    path = tmp_path / "app.db"
    with vicinal.connect(path, durability="relaxed") as db:
        docs = fill(db, "docs", vectors, list(range(N_ROWS)))
        left = churn(docs, vectors)
        fresh = fresh_bytes(tmp_path, vectors[left], left)
        deadline = time.monotonic() + 10
        while db.stats()["file_bytes"] > 1.4 * fresh:
            assert time.monotonic() < deadline, db.stats()
            time.sleep(0.05)
        assert docs.count() == len(left)
        assert db.verify().ok


def test_the_space_of_a_dropped_collection_comes_back(tmp_path, vectors):
    with vicinal.connect(tmp_path / "app.db", maintenance=False, durability="relaxed") as db:
        fill(db, "kept", vectors[:100], list(range(100)))
        before = db.stats()["file_bytes"]
        fill(db, "dropped", vectors, list(range(N_ROWS)))
        assert db.stats()["file_bytes"] > 4 * before
        db.drop("dropped")
        db.compact()
        assert db.stats()["file_bytes"] <= before + (1 << 20) + (64 << 10)
        assert db.execute("select count(*) from vicinal_row") == [(100,)]
        assert db.verify().ok
        assert fill(db, "dropped", vectors[:10], list(range(10))).count() == 10


def test_rows_that_expired_leave_the_file(tmp_path):
    now = [1_000_000.0]
    with vicinal.connect(tmp_path / "app.db", maintenance=False, clock=lambda: now[0]) as db:
        docs = db.collection("docs", dim=2)
        docs.add(ids=["short", "long", "for ever"], vectors=[[1, 2]] * 3, ttl=[10, 1000, None])
        stored = "select count(*) from vicinal_row"
        now[0] += 11
        assert docs.get().ids == docs.search([1, 2], k=9).ids or set(docs.search([1, 2], k=9).ids) == {
            "long",
            "for ever",
        }
        assert db.execute(stored) == [(3,)]
        db.compact()
        assert db.execute(stored) == [(2,)]
        now[0] += 1000
        db.compact()
        assert docs.get().ids == ["for ever"]
        assert db.execute(stored) == [(1,)]
        assert db.verify().ok


def test_expired_rows_leave_the_file_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(maintainer, "_IDLE_SECONDS", 0.02)
    monkeypatch.setattr(maintainer, "_POLL_SECONDS", 0.05)
    with vicinal.connect(tmp_path / "app.db") as db:
        db.collection("docs", dim=2).add(ids=["a", "b"], vectors=[[1, 2]] * 2, ttl=[0.2, 1000])
        deadline = time.monotonic() + 5
        while db.execute("select count(*) from vicinal_row") != [(1,)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_thousand_collections_of_one_row(tmp_path):
    path, vector = tmp_path / "app.db", np.ones((1, 256), np.float32)
    with vicinal.connect(path, durability="relaxed", maintenance=False) as db:
        for at in range(1000):
            db.collection(f"tenant {at}", dim=256).add(ids=["only"], vectors=vector, documents=["text"])
        db.compact()
    assert path.stat().st_size <= 1000 * 100 * 1024
    with vicinal.connect(path) as db:
        times = []
        for at in random.Random(0).sample(range(1000), 100):
            started = time.perf_counter()
            assert db.collection(f"tenant {at}").search(vector[0], k=1).ids == ["only"]
            times.append(1000 * (time.perf_counter() - started))
    size = path.stat().st_size / 1000 / 1024
    shown = f"{size:.1f} KB a collection; open and search: median {np.median(times):.2f}, longest {max(times):.2f} ms"
    print(shown)  # noqa: T201
