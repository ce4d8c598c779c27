"""Bytes that changed outside: found and named, never a crash, and a file that is not ours is not touched."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest

import vicinal
from vicinal.errors import Corrupted, StorageError, VicinalError

from . import model as known
from .harness import FULL, Worker

N_ROWS = 300


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "app.db"
    with vicinal.connect(path, maintenance=False) as db:
        for name in ("docs", "other"):
            ids = [f"{name}-{at}" for at in range(N_ROWS)]
            docs = db.collection(name, dim=known.DIM)
            docs.add(ids=ids, vectors=known.vectors(ids, 0), documents=ids, metadata=[{"x": 1}] * N_ROWS)
    return path


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "app.db")


def test_a_flipped_bit_of_a_vector_is_reported_with_collection_and_id(path):
    chance = random.Random(0)
    clean = path.read_bytes()
    for _ in range(20):
        name = chance.choice(["docs", "other"])
        identity = f"{name}-{chance.randrange(N_ROWS)}"
        piece = known.vector(identity, 0).tobytes()
        start = 4 * chance.randrange(known.DIM - 4)
        found = clean.find(piece[start : start + 16])
        assert found >= 0
        damaged = bytearray(clean)
        damaged[found + chance.randrange(16)] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with vicinal.connect(path, maintenance=False) as db:
            (problem,) = db.verify().problems
            assert repr(name) in problem
            assert repr(identity) in problem
            (problem,) = db.verify(repair=True).problems
            assert repr(identity) in problem


@pytest.mark.parametrize("streamed", [False, True])
def test_a_changed_vector_is_never_served(path, streamed, monkeypatch):
    if streamed:
        monkeypatch.setattr("vicinal.engine.resident._resident_length", lambda *_: 0)
    piece = known.vector("docs-5", 0).tobytes()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.find(piece[:16])] ^= 4
    path.write_bytes(damaged)
    with vicinal.connect(path, maintenance=False) as db:
        docs = db.collection("docs")
        for call in (lambda: docs.search(np.ones(known.DIM)), lambda: docs["docs-5"]):
            with pytest.raises(Corrupted, match="no longer what was written"):
                call()
        assert docs["docs-6"].vector is not None
        assert len(db.collection("other").search(np.ones(known.DIM))) == 10
        docs.delete(["docs-5"])
        assert len(docs.search(np.ones(known.DIM), k=N_ROWS)) == N_ROWS - 1


def use(path):
    """Do everything a user does; errors of ours are fine, others are not. Return what verify said."""
    with vicinal.connect(path, maintenance=False) as db:
        report = db.verify()
        for name in db.collections():
            docs = db.collection(name)
            for call in (
                lambda docs=docs: docs.search(np.ones(known.DIM), k=N_ROWS),
                lambda docs=docs: docs.get(include=("document", "metadata", "vector")),
                lambda docs=docs: docs.count(where={"x": 1}),
                lambda docs=docs: docs.upsert(ids=[f"{docs.name}-7"], vectors=[known.vector("new", 0)]),
                lambda docs=docs: docs.delete([f"{docs.name}-8"]),
                db.compact,
                lambda: db.verify(repair=True),
            ):
                try:
                    call()
                except VicinalError:
                    continue
    return report


@pytest.mark.parametrize("rounds", [12, pytest.param(10_000, marks=FULL)])
def test_a_zeroed_page_is_found_wherever_it_is(whole, tmp_path, rounds):
    clean = whole.read_bytes()
    n_pages = len(clean) // 8192
    for page in random.Random(1).sample(range(1, n_pages), min(rounds, n_pages - 1)):
        path = tmp_path / f"{page}.db"
        path.write_bytes(clean[: page * 8192] + bytes(8192) + clean[(page + 1) * 8192 :])
        blank = not any(clean[page * 8192 : (page + 1) * 8192])
        try:
            report = use(path)
        except Corrupted:
            continue
        assert blank or not report.ok, page


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # vectors become NaN
@pytest.mark.parametrize("rounds", [20, pytest.param(400, marks=FULL)])
def test_random_bytes_anywhere_give_typed_errors_only(whole, tmp_path, rounds):
    chance = random.Random(2)
    clean = whole.read_bytes()
    for number in range(rounds):
        damaged = bytearray(clean)
        start = chance.randrange(100, len(damaged) - 300)
        damaged[start : start + 200] = chance.randbytes(200)
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged)
        try:
            use(path)
        except VicinalError:
            continue


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.999])
def test_a_file_cut_short_is_reported(whole, tmp_path, share):
    path = tmp_path / "app.db"
    clean = whole.read_bytes()
    path.write_bytes(clean[: int(len(clean) * share)])
    try:
        report = use(path)
    except StorageError:
        return
    assert not report.ok


@pytest.fixture
def crashed(tmp_path):
    """Return a database whose process was killed: the last batches are in its log alone."""
    path = tmp_path / "crashed" / "app.db"
    path.parent.mkdir()
    worker = Worker("ingest", path, "never")
    while len(worker.lines) < 6:
        worker.line()
    lines = worker.end()
    return path, max(int(line) for line in lines if line.strip().isdigit())


def test_a_copy_with_its_log_has_every_batch(crashed, tmp_path):
    path, acknowledged = crashed
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", tmp_path / f"copy.db{suffix}")
    known.audit(tmp_path / "copy.db", known.Model(), acknowledged)


def test_a_copy_without_its_log_is_an_older_state_or_an_error(crashed, tmp_path):
    path, acknowledged = crashed
    shutil.copy(path, tmp_path / "copy.db")
    with vicinal.connect(tmp_path / "copy.db", maintenance=False) as db:
        if not db.collections():
            return
        model = known.Model()
        model.advance_to(known.n_stored(db))
        assert model.number <= acknowledged
        known.check(db, model)


def test_a_log_cut_short_ends_at_a_whole_batch(crashed, tmp_path):
    path, acknowledged = crashed
    log = path.with_name("app.db-wal").read_bytes()
    chance = random.Random(3)
    for number in range(8):
        copy = tmp_path / f"{number}.db"
        shutil.copy(path, copy)
        copy.with_name(copy.name + "-wal").write_bytes(log[: chance.randrange(len(log))])
        with vicinal.connect(copy, maintenance=False) as db:
            if "docs" not in db.collections():
                continue
            model = known.Model()
            model.advance_to(known.n_stored(db))
            assert model.number <= acknowledged
            known.check(db, model)


def test_a_row_number_that_is_taken_already_is_refused_and_its_row_stays(path):
    with vicinal.connect(path, maintenance=False) as db:
        raw = db._backend._pool._writer.connection
        raw.execute("update vicinal_collection set next_row = 5, stamp = stamp + 1 where name = 'docs'")
        docs = db.collection("docs")
        before = docs.get().to_dicts()
        for n in (1, 120):
            with pytest.raises(Corrupted, match="number of a new row is taken"):
                docs.add(ids=[f"new-{at}" for at in range(n)], vectors=np.ones((n, known.DIM)))
        assert docs.get().to_dicts() == before
        assert any("beyond the next row number" in problem for problem in db.verify().problems)
