"""Backups: of one moment, while others write; restored by opening them; never over something else."""

from __future__ import annotations

import time

import pytest

import vicinal
from vicinal.errors import AlreadyExists, InvalidInput, NotFound

from . import model as known
from .harness import Worker


def test_backups_beside_a_writer_are_whole_moments(tmp_path):
    path = tmp_path / "app.db"
    worker = Worker("ingest", path, "loop")
    worker.line()
    numbers = []
    with vicinal.connect(path, read_only=True) as db:
        for at in range(8):
            db.backup(tmp_path / f"copy{at}", progress=lambda _done, _total: time.sleep(0.005))
            with vicinal.connect(tmp_path / f"copy{at}", maintenance=False) as copy:
                if not at:
                    continue
                model = known.Model()
                model.advance_to(known.n_stored(copy))
                known.check(copy, model)
                numbers.append(model.number)
    assert worker.end()
    assert numbers == sorted(numbers)
    assert numbers[-1] > numbers[0]


def test_a_restored_backup_is_the_source_and_goes_on(tmp_path):
    path, model = tmp_path / "app.db", known.Model()
    with vicinal.connect(path) as db:
        known.create(db)
        for _ in range(10):
            known.store(db, batch := model.next())
            model.apply(batch)
        seen = []
        db.backup(tmp_path / "copy.db", progress=lambda done, total: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1] > 0
        known.store(db, model.next())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["app.db", "copy.db"]
    with vicinal.connect(tmp_path / "copy.db") as copy:
        known.check(copy, model)
        known.store(copy, batch := model.next())
        model.apply(batch)
        known.check(copy, model)
        assert copy.execute("pragma journal_mode") == [("wal",)]
    with vicinal.connect(path) as db:
        known.check(db, model)


def test_nothing_is_overwritten(tmp_path):
    with vicinal.connect(tmp_path / "app.db") as db:
        known.create(db)
        (tmp_path / "taken").write_text("mine")
        with pytest.raises(AlreadyExists, match="never overwrites"):
            db.backup(tmp_path / "taken")
        assert (tmp_path / "taken").read_text() == "mine"
        with pytest.raises(AlreadyExists):
            db.backup(tmp_path / "app.db")
        with pytest.raises(NotFound, match="no directory"):
            db.backup(tmp_path / "none" / "copy")
        with pytest.raises(InvalidInput, match="inside a transaction"), db.transaction():
            db.backup(tmp_path / "copy")
        assert db.verify().ok


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    with vicinal.connect(tmp_path / "app.db") as db:
        known.create(db)
        with pytest.raises(AlreadyExists):
            db.backup(tmp_path / "copy", progress=lambda _done, _total: (tmp_path / "copy").write_text("mine"))
        assert (tmp_path / "copy").read_text() == "mine"
        assert not list(tmp_path.glob("*.partial*"))
