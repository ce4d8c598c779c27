"""The standard library's sqlite3 on a file that is open: refused under every name of the file."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

import vicinal
from vicinal.errors import UnsafeAccess


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    return tmp_path / "a b#c%.db"


def names(path):
    path.with_name("symbolic").symlink_to(path)
    path.with_name("hard").hardlink_to(path)
    path.with_name("linked").symlink_to(path.parent, target_is_directory=True)
    return {
        "path": str(path),
        "pathlib": path,
        "relative": path.name,
        "round about": f"folder/../{path.name}",
        "bytes": os.fsencode(path),
        "symbolic link": "symbolic",
        "hard link": Path("hard"),
        "linked directory": f"linked/{path.name}",
        "uri": path.as_uri(),
        "uri with parameters": path.as_uri() + "?mode=ro",
        "relative uri": "file:a%20b%23c%25.db?cache=private",
        "uri with a host": path.as_uri().replace("file://", "file://localhost"),
    }


def test_the_standard_library_is_refused_under_every_name(path):
    with vicinal.connect(path) as db:
        db.collection("docs", dim=2).add(ids=["a"], vectors=[[1, 2]])
        for what, name in names(path).items():
            uri = "uri" in what
            with pytest.raises(UnsafeAccess, match=r"db\.execute"):
                sqlite3.connect(name, uri=uri)
        assert db.collection("docs").search([1, 2]).ids == ["a"]


def test_it_is_allowed_after_the_last_close_and_on_other_files(path):
    first, second = vicinal.connect(path), vicinal.connect(path)
    for other in ("other.db", ":memory:", "", "file::memory:"):
        sqlite3.connect(other, uri=other.startswith("file")).close()
    first.close()
    with pytest.raises(UnsafeAccess):
        sqlite3.connect(path)
    second.close()
    second.close()
    for what, name in names(path).items():
        with sqlite3.connect(name, uri="uri" in what) as theirs:
            theirs.execute("select 1 from sqlite_schema").fetchall()
        theirs.close()
    with vicinal.connect(path), pytest.raises(UnsafeAccess):
        sqlite3.connect(path)


def test_a_database_that_failed_to_open_guards_nothing(path):
    path.write_bytes(b"not a database at all, but long enough to be looked at")
    with pytest.raises(vicinal.errors.NotADatabase):
        vicinal.connect(path)
    sqlite3.connect(path).close()
