"""A database and a collection for tests of the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import vicinal

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "app.db")


@pytest.fixture
def clock() -> list[float]:
    """The time that `db` sees, in seconds since 1970."""
    return [1_700_000_000.0]


@pytest.fixture
def db(path, clock) -> Iterator[vicinal.Database]:
    opened = vicinal.connect(path, maintenance=False, timeout=0.2, durability="relaxed", clock=lambda: clock[0])
    with opened:
        yield opened


@pytest.fixture
def docs(db) -> vicinal.Collection:
    """An empty collection of two dimensions."""
    return db.collection("docs", dim=2, metric="l2")


@pytest.fixture
def three(docs) -> vicinal.Collection:
    """Rows a, b, c at distances 0, 1, 2 from the origin."""
    docs.add(
        ids=["a", "b", "c"],
        vectors=[[0, 0], [1, 0], [2, 0]],
        documents=["first", None, "third"],
        metadata=[{"n": 1}, {"n": 2, "tag": "x"}, {}],
    )
    return docs
