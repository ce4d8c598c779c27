"""The log is moved into the file beside the writers, and does not grow without end."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import vicinal

DIM = 256
BATCH = 1024
BATCH_BYTES = BATCH * DIM * 4
MB = 1 << 20


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((BATCH, DIM)).astype(np.float32)


def write(db, vectors, n_batches, first=0):
    docs = db.collection("docs", dim=DIM)
    docs.index("flat")
    for at in range(first, first + n_batches):
        docs.add(ids=[f"{at}-{row}" for row in range(BATCH)], vectors=vectors + np.float32(at))
    return docs


def size(path):
    return path.stat().st_size if path.exists() else 0


def log_of(path):
    return path.with_name(path.name + "-wal")


def wait_until(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def copying():
    return [thread for thread in threading.enumerate() if thread.name == "vicinal-checkpoint"]


def test_a_thread_copies_what_no_commit_would(tmp_path, vectors):
    path = tmp_path / "app.db"
    with vicinal.connect(path, maintenance=False, threads=2) as db:
        docs = write(db, vectors, 8)
        wait_until(lambda: size(path) > 6 * BATCH_BYTES)  # the log alone could hold all of it
        assert docs.count() == 8 * BATCH
        assert db.verify().ok
    assert not copying()


@pytest.mark.parametrize(("threads", "most_bytes"), [(1, 8 * MB), (2, 24 * MB)])
def test_the_log_does_not_grow_without_end(tmp_path, vectors, threads, most_bytes):
    path = tmp_path / "app.db"
    with vicinal.connect(path, maintenance=False, durability="relaxed", threads=threads) as db:
        docs = write(db, vectors, 60)
        assert size(log_of(path)) < most_bytes
        assert docs.search(vectors[7] + np.float32(59), k=1, exact=True).ids == ["59-7"]
    with vicinal.connect(path) as db:
        assert db.collection("docs").count() == 60 * BATCH
        assert db.verify().ok


def test_a_reader_of_the_past_keeps_the_log_and_its_end_gives_it_back(tmp_path, vectors):
    path = tmp_path / "app.db"
    with vicinal.connect(path, maintenance=False, durability="relaxed", threads=2) as db:
        docs = write(db, vectors, 2)
        with vicinal.connect(path, read_only=True) as other, other._backend.snapshot():
            past = other.collection("docs")
            assert past.count() == 2 * BATCH
            write(db, vectors, 30, first=2)
            assert size(log_of(path)) > 30 * BATCH_BYTES
            assert past.count() == 2 * BATCH
        db.compact()
        assert size(log_of(path)) == 0
        write(db, vectors, 8, first=32)
        assert size(log_of(path)) < 24 * MB
        assert docs.count() == 40 * BATCH
        assert db.verify().ok


def test_no_thread_where_threads_are_not_wanted(tmp_path, vectors, monkeypatch):
    started = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    with vicinal.connect(tmp_path / "app.db", maintenance=False, durability="relaxed", threads=1) as db:
        write(db, vectors, 12)
        assert db.verify().ok
    assert started == []
