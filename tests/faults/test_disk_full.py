"""A disk without space: nothing is half stored, reads go on, and it recovers."""

from __future__ import annotations

import contextlib
import os

import pytest

import vicinal
from vicinal.errors import StorageFull

from . import model as known
from .harness import disk, remount


def fill_further(db, batch):
    """Try to store one batch again and again."""
    for _ in range(100):
        known.store(db, batch)


def fill(db, model):
    """Store batches until there is no space; the model then says what must be there."""
    for _ in range(10_000):
        batch = model.next()
        try:
            known.store(db, batch)
        except StorageFull as error:
            assert "no space left" in str(error)  # noqa: PT017
            assert not db._backend._pool._writer.connection.in_transaction
            return
        model.apply(batch)
    pytest.fail("the disk never filled up")


@pytest.mark.parametrize("maintenance", [False, True])
def test_a_full_disk_stops_writes_alone_and_space_brings_them_back(tmp_path, maintenance):
    with disk(tmp_path / "small", "3m") as place:
        path, model = place / "app.db", known.Model(n_rows=200, most=100_000)
        with vicinal.connect(path, maintenance=maintenance) as db:
            known.create(db)
            fill(db, model)
            assert known.n_stored(db) == model.number > 3
            known.check(db, model)
            with pytest.raises(StorageFull):
                fill_further(db, model.next())
            known.check(db, model)
            remount(place, "size=16m")
            for _ in range(3):
                batch = model.next()
                known.store(db, batch)
                model.apply(batch)
            known.check(db, model)
        known.audit(path, model, model.number)


def test_rows_can_be_deleted_from_a_full_disk_after_a_checkpoint(tmp_path):
    """What makes space on a full disk: the log is emptied into the file, then a deletion fits into it."""
    with disk(tmp_path / "small", "3m") as place:
        path, model = place / "app.db", known.Model(n_rows=200, most=100_000)
        with vicinal.connect(path, maintenance=False) as db:
            known.create(db)
            fill(db, model)
            docs = db.collection("docs")
            try:
                n_gone = docs.delete(list(model.rows)[:50])
            except StorageFull:
                db.compact()
                n_gone = docs.delete(list(model.rows)[:50])
            assert n_gone == 50
            assert docs.count() == len(model.rows) - 50
            assert db.verify().ok


def test_a_database_that_was_full_opens_and_reads(tmp_path):
    with disk(tmp_path / "small", "3m") as place:
        path, model = place / "app.db", known.Model(n_rows=200, most=100_000)
        with vicinal.connect(path, maintenance=False) as db:
            known.create(db)
            fill(db, model)
        ballast = os.open(place / "ballast", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(ballast, bytes(4096)):
                pass
        os.close(ballast)
        with vicinal.connect(path, read_only=True) as db:
            known.check(db, model)


def test_a_limit_on_the_size_of_the_file_is_a_full_disk(tmp_path):
    path, model = tmp_path / "app.db", known.Model(n_rows=100, most=100_000)
    with vicinal.connect(path, maintenance=False) as db:
        known.create(db)
        raw = db._backend._pool._writer.connection
        raw.execute("pragma max_page_count = 100").fetchall()
        fill(db, model)
        known.check(db, model)
        docs = db.collection("docs")
        assert docs.delete(list(model.rows)[:20]) == 20
        raw.execute("pragma max_page_count = 10000").fetchall()
        docs.add(ids=["more"], vectors=[known.vector("more", 0)])
        assert db.verify().ok


def test_a_backup_to_a_full_disk_leaves_nothing(tmp_path):
    path, model = tmp_path / "app.db", known.Model(n_rows=500)
    with vicinal.connect(path, maintenance=False) as db:
        known.create(db)
        known.store(db, model.next())
        with disk(tmp_path / "small", "100k") as place:
            with pytest.raises(StorageFull):
                db.backup(place / "copy.db")
            assert not list(place.iterdir())
        model.advance_to(1)
        known.check(db, model)
