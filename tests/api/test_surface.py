"""What the package offers, and how databases are opened and closed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vicinal
from vicinal.errors import Closed, InvalidInput, NotFound, ReadOnly, Unsupported

PUBLIC = [
    *("BatchHits", "Collection", "Database", "Explanation", "F", "Hit", "Hits", "Report", "Row", "Rows"),
    *("Transaction", "VicinalError", "__version__", "connect", "errors"),
]


def test_the_public_names_are_these() -> None:
    assert vicinal.__all__ == PUBLIC
    assert all(hasattr(vicinal, name) for name in PUBLIC)


def test_importing_loads_nothing_until_a_name_is_used() -> None:
    code = (
        "import sys, vicinal; assert set(vicinal.__all__) <= set(dir(vicinal)); "
        "print('numpy' in sys.modules); vicinal.F; print('numpy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


def test_a_misspelt_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'vicinal' has no attribute 'conect'"):
        vicinal.conect  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'conect' from 'vicinal'"):
        exec("from vicinal import conect")  # noqa: S102


@pytest.mark.parametrize("name", [name for name in PUBLIC if isinstance(getattr(vicinal, name), type)])
def test_classes_say_that_they_are_vicinal_s(name) -> None:
    assert getattr(vicinal, name).__module__ == ("vicinal.errors" if name == "VicinalError" else "vicinal")


def test_a_database_closes_itself_and_says_so(path) -> None:
    with vicinal.connect(path) as db:
        docs = db.collection("docs", dim=2)
        docs.add(ids=["a"], vectors=[[1, 0]])
    db.close()
    calls = [
        lambda: docs.add(ids=["b"], vectors=[[1, 0]]),
        lambda: docs.search([1, 0]),
        docs.get,
        docs.count,
        lambda: "a" in docs,
        lambda: next(docs.iterate()),
        lambda: next(docs.iterate(snapshot=True)),
        db.collections,
        lambda: db.collection("x", dim=1),
        lambda: db.execute("select 1"),
        db.verify,
        db.compact,
        db.stats,
        lambda: db.transaction().__enter__(),
    ]
    for call in calls:
        with pytest.raises(Closed, match="is closed; open it again"):
            call()
    with vicinal.connect(path) as again:
        assert again.collection("docs").get().ids == ["a"]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"path": ""}, InvalidInput, "a path or ':memory:'"),
        ({"path": "a\x00b"}, InvalidInput, "a path or ':memory:'"),
        ({"path": 5}, InvalidInput, "a path or ':memory:', not 5"),
        ({"path": "http://host"}, Unsupported, "this version opens files"),
        ({"path": "/"}, InvalidInput, "is a directory"),
        ({"path": "/no/such/app.db"}, NotFound, "no directory '/no/such'"),
        ({"path": "gone.db", "read_only": True}, NotFound, "to open read-only"),
        ({"path": ":memory:", "durability": "none"}, InvalidInput, "'full' or 'relaxed', not 'none'"),
        ({"path": ":memory:", "timeout": -1}, InvalidInput, "timeout is a number of seconds"),
        ({"path": ":memory:", "memory_budget": "1KB"}, InvalidInput, "at least 1MB; got '1KB'"),
        ({"path": ":memory:", "memory_budget": "much"}, InvalidInput, "got 'much'"),
        ({"path": ":memory:", "threads": 0}, InvalidInput, "threads is a number from 1"),
    ],
)
def test_a_database_that_cannot_be_opened_says_why(given, error, says) -> None:
    with pytest.raises(error, match=says):
        vicinal.connect(**given)


def test_read_only_reads(path, db, three) -> None:
    with vicinal.connect(path, read_only=True) as reader:
        docs = reader.collection("docs")
        assert docs.search([0, 0], where="n = 1").ids == ["a"]
        for call in (lambda: docs.delete(["a"]), lambda: reader.drop("docs"), lambda: reader.collection("x", dim=1)):
            with pytest.raises(ReadOnly, match="open read-only"):
                call()
        assert reader.execute("select count(*) from vicinal_row") == [(3,)]
