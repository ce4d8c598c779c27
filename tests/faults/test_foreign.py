"""Files that are not ours: refused and left as they are, or shared without harm."""

from __future__ import annotations

import random
import sqlite3

import apsw
import pytest

import vicinal
from vicinal.errors import InvalidInput, NotADatabase, NotFound, UnsupportedVersion
from vicinal.storage import connection

from . import model as known


def listing(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def refused(path, error, *words):
    """Assert that a file is refused with these words, and is byte for byte what it was."""
    before = path.read_bytes()
    names = listing(path)
    for read_only in (False, True):
        with pytest.raises(error) as caught:
            vicinal.connect(path, read_only=read_only)
        for word in words:
            assert word in str(caught.value)
        assert path.read_bytes() == before
        if not read_only:  # SQLite leaves an empty log beside a file that it was to read only
            assert listing(path) == names


@pytest.mark.parametrize("size", [1, 15, 16, 99, 100, 5000])
def test_a_random_file(tmp_path, size):
    path = tmp_path / "noise"
    path.write_bytes(random.Random(size).randbytes(size))
    refused(path, NotADatabase, "not an SQLite database")


def test_an_sqlite_file_of_another_application(tmp_path):
    path = tmp_path / "theirs.gpkg"
    with sqlite3.connect(path) as db:
        db.execute("create table t(x)")
        db.execute("pragma application_id = 0x47504b47")
    db.close()
    refused(path, NotADatabase, "another application", "0x47504b47")


def test_a_header_without_a_database(tmp_path):
    path = tmp_path / "header.db"
    path.write_bytes(b"SQLite format 3\x00" + bytes(random.Random(0).randbytes(52)) + bytes(4000))
    before = path.read_bytes()
    with pytest.raises(vicinal.VicinalError):
        vicinal.connect(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_file_of_a_newer_vicinal(tmp_path, journal):
    path = tmp_path / "new.db"
    with vicinal.connect(path) as db:
        db.collection("docs", dim=2).add(vectors=[[1, 2]])
    raw = apsw.Connection(str(path))
    raw.execute(f"pragma journal_mode = {journal}").fetchall()
    raw.execute("update vicinal_meta set value = 99 where key = 'format'").fetchall()
    raw.close()
    refused(path, UnsupportedVersion, "format 99; this vicinal reads up to")


def test_an_sqlite_library_that_can_corrupt_files_may_only_read(tmp_path, monkeypatch):
    path = tmp_path / "app.db"
    with vicinal.connect(path) as db:
        db.collection("docs", dim=2).add(ids=["a"], vectors=[[1, 2]])
    monkeypatch.setattr(connection.apsw, "SQLITE_VERSION_NUMBER", 3_051_002)
    with pytest.raises(UnsupportedVersion, match="can corrupt"):
        vicinal.connect(path)
    with pytest.raises(UnsupportedVersion):
        vicinal.connect(tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
    with vicinal.connect(path, read_only=True) as db:
        assert db.collection("docs").search([1, 2]).ids == ["a"]


def test_an_empty_file_becomes_a_database(tmp_path):
    path = tmp_path / "empty.db"
    path.touch()
    with vicinal.connect(path, read_only=True) as db:
        assert db.collections() == []
        assert db.verify().ok
    with vicinal.connect(path) as db:
        db.collection("docs", dim=2).add(ids=["a"], vectors=[[1, 2]])
        assert db.execute("pragma auto_vacuum") == [(2,)]
        assert db.verify().ok


@pytest.mark.parametrize("page_bytes", [512, 4096, 65536])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_somebody_elses_file_is_shared_with_its_own_tables(tmp_path, page_bytes, journal):
    path = tmp_path / "shop.db"
    theirs = sqlite3.connect(path)
    theirs.execute(f"pragma page_size = {page_bytes}")
    theirs.execute(f"pragma journal_mode = {journal}")
    theirs.execute("create table goods(name text primary key, price real)")
    theirs.executemany("insert into goods values (?, ?)", [(f"thing {at}", at / 7) for at in range(500)])
    theirs.execute("create view cheap as select * from goods where price < 10")
    theirs.commit()
    dump = list(theirs.iterdump())
    theirs.close()

    model = known.Model()
    with vicinal.connect(path) as db:
        assert db.collections() == []
        known.create(db)
        for _ in range(12):
            batch = model.next()
            known.store(db, batch)
            model.apply(batch)
        db.compact()
        known.check(db, model)
        assert db.execute("pragma application_id") == [(0,)]
        assert db.execute("pragma auto_vacuum") == [(0,)]
        assert db.execute("pragma page_size") == [(page_bytes,)]
    known.audit(path, model, model.number)

    with vicinal.connect(path) as db:
        db.drop("docs")
        db.execute("drop table batches")
        db.compact()
    theirs = sqlite3.connect(path)
    assert theirs.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert [line for line in theirs.iterdump() if "vicinal_" not in line and "sqlite_sequence" not in line] == dump
    theirs.close()


def test_a_directory_and_a_missing_directory(tmp_path):
    with pytest.raises(InvalidInput, match="is a directory"):
        vicinal.connect(tmp_path)
    with pytest.raises(NotFound, match="no directory"):
        vicinal.connect(tmp_path / "none" / "app.db")
    with pytest.raises(NotFound, match="no file"):
        vicinal.connect(tmp_path / "app.db", read_only=True)
    assert not list(tmp_path.iterdir())
