"""What a long-lived process has brought up to date equals what a new one loads from scratch."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import vicinal
from vicinal.engine import maintenance
from vicinal.index import BLOCK_ROWS as VECTOR_BLOCK
from vicinal.storage import catalog
from vicinal.storage.schema import BLOCK_ROWS as ROW_BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIM = 4
FILTERS = (None, "n >= 3", "even = true", "tag = 'x' or n = 1")
QUERY = [1, 0, 2, 3]


def connect(path: str, **given: Any) -> vicinal.Database:
    return vicinal.connect(path, durability="relaxed", maintenance=False, clock=lambda: 1e9, **given)


class Undo(Exception):
    pass


@contextmanager
def undone(db: vicinal.Database) -> Iterator[None]:
    """Run the block in a transaction, and roll it back."""
    with suppress(Undo), db.transaction():
        yield
        raise Undo


def rows(low: int, high: int) -> dict[str, Any]:
    """Return rows with ids [low, high); vectors repeat, so that there are ties across blocks."""
    ids = np.arange(low, high)
    vectors = np.stack([ids % 7, ids % 5, ids % 3, ids % 11], axis=1).astype(np.int8)
    return {"ids": ids, "vectors": vectors, "metadata": [{"n": at % 5, "even": at % 2 == 0} for at in range(low, high)]}


def answers(docs: vicinal.Collection) -> list[Any]:
    found: list[Any] = []
    for where in FILTERS:
        hits = docs.search(QUERY, k=300, where=where, include=())
        found += [docs.count(where), hits.ids, hits.distances.tolist()]
        found.append(docs.get(where=where, order_by=["-n", "tag"], limit=50).to_dicts())
    return found


def brute(docs: vicinal.Collection, k: int) -> list[tuple[float, int]]:
    """Return the nearest rows from what `iterate` reads, which no cache serves."""
    found = []
    for page in docs.iterate(include=["vector"], batch_size=20_000):
        vectors = np.stack([entry["vector"] for entry in page.vectors]).astype(float)
        distances = np.sqrt(((vectors - QUERY) ** 2).sum(axis=1)).astype(np.float32)
        found += zip(distances.tolist(), page.ids, strict=True)
    return sorted(found)[:k]


def agrees(path: str, docs: vicinal.Collection) -> None:
    with connect(path) as db:
        fresh = db.collection("docs")
        assert answers(docs) == answers(fresh)
        hits = fresh.search(QUERY, k=300, include=())
        assert list(zip(hits.distances.tolist(), hits.ids, strict=True)) == brute(fresh, 300)


def step(name: str) -> Callable[[vicinal.Collection], Any]:
    """Return one change; together they cross the ends of blocks in every way."""
    edge = 2 * ROW_BLOCK
    return {
        "add up to an edge": lambda docs: docs.add(**rows(edge, edge + ROW_BLOCK)),
        "add one across it": lambda docs: docs.add(**rows(edge + ROW_BLOCK, edge + ROW_BLOCK + 1)),
        "delete around an edge": lambda docs: docs.delete(range(edge - 3, edge + 3)),
        "delete a whole block": lambda docs: docs.delete(range(ROW_BLOCK, edge)),
        "patch one block": lambda docs: docs.update(ids=[0, 1, 5], metadata={"tag": "x"}),
        "patch all": lambda docs: docs.update(where="n = 1", metadata={"tag": "y", "n": 7}, unset=["even"]),
        "replace": lambda docs: docs.upsert(**rows(100, 130)),
        "new vectors": lambda docs: docs.update(ids=[3, 7], vectors=[[1, 0, 2, 3], [9, 9, 9, 9]]),
        "expire": lambda docs: docs.update(where="n = 2", ttl=0),
        "add far more": lambda docs: docs.add(**rows(50_000, 50_000 + 3 * ROW_BLOCK)),
        "delete most": lambda docs: docs.delete(where="n != 3"),
        "delete all": lambda docs: docs.delete(where="n is null or n is not null"),
        "begin anew": lambda docs: docs.add(**rows(90_000, 90_010)),
    }[name]


STEPS = (
    *("add up to an edge", "add one across it", "delete around an edge", "patch one block", "replace"),
    *("new vectors", "compact", "delete a whole block", "patch all", "expire", "compact", "add far more"),
    *("delete most", "compact", "delete all", "begin anew", "compact"),
)


@pytest.mark.parametrize("actor", ["itself", "another connection"])
def test_after_every_change_the_caches_are_as_if_loaded_anew(tmp_path, actor) -> None:
    path = str(tmp_path / "db")
    with connect(path) as db, connect(path) as other:
        docs = db.collection("docs", dim=DIM, dtype="i8", metric="l2")
        docs.add(**rows(0, 2 * ROW_BLOCK))
        writer = db if actor == "itself" else other
        for name in STEPS:
            answers(docs)  # whatever can be kept is kept
            if name == "compact":
                writer.compact()
            else:
                step(name)(writer.collection("docs"))
            agrees(path, docs)
        assert db.verify().ok


def test_vectors_grow_across_the_end_of_a_block_in_memory(tmp_path) -> None:
    path = str(tmp_path / "db")
    with connect(path) as db:
        docs = db.collection("docs", dim=DIM, dtype="i8", metric="l2")
        docs.add(**rows(0, VECTOR_BLOCK - 2))
        for low, high in ((VECTOR_BLOCK - 2, VECTOR_BLOCK), (VECTOR_BLOCK, VECTOR_BLOCK + 3)):
            before = docs.search(QUERY, k=1, include=()).distances[0]
            docs.add(**rows(low, high))
            docs.update(ids=[high - 1], vectors=[QUERY])
            assert before >= 0
            assert docs.search(QUERY, k=1, where={"n": (high - 1) % 5}, include=()).distances[0] == 0
        agrees(path, docs)


def test_a_transaction_that_is_rolled_back_leaves_no_trace_in_caches(tmp_path) -> None:
    path = str(tmp_path / "db")
    with connect(path) as db:
        docs = db.collection("docs", dim=DIM, dtype="i8", metric="l2")
        docs.add(**rows(0, ROW_BLOCK + 5))
        before = answers(docs)
        with undone(db):
            docs.add(**rows(ROW_BLOCK + 5, 2 * ROW_BLOCK + 9))
            docs.update(where="n = 4", metadata={"tag": "x"})
            assert answers(docs) != before
        assert answers(docs) == before
        docs.add(**rows(90_000, 90_003))  # takes the same rows and slots again
        agrees(path, docs)


def test_a_rename_after_a_rollback_shows_no_row_of_it(tmp_path) -> None:
    with connect(str(tmp_path / "db")) as db:
        docs = db.collection("docs", dim=2, metric="l2")
        docs.add(ids=["kept"], vectors=[[1, 0]])
        with undone(db):
            docs.add(ids=["ghost"], vectors=[[0, 1]])
            assert docs.search([0, 1], k=1).ids == ["ghost"]
        with db.transaction():
            db.rename("docs", "texts")
            hits = db.collection("texts").search([0, 1])
        assert (hits.ids, hits.distances.tolist()) == (["kept"], [np.float32(2**0.5)])


def test_readers_far_behind_load_anew_when_the_stubs_of_dropped_chunks_are_purged(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(maintenance, "_ENOUGH_STUBS", 2)
    path = str(tmp_path / "db")
    with connect(path) as old, connect(path) as db:
        docs = db.collection("docs", dim=DIM, dtype="i8", metric="l2")
        docs.add(**rows(0, 8000))
        behind = old.collection("docs")
        answers(behind)  # loads, at a version whose chunks will be gone
        docs.delete(range(6000))
        db.compact()
        with db._backend._pool.reader() as session, session.reading():
            record = catalog.find(session, "docs")
            assert record is not None
            assert record.fields[0].floor > 0  # else this tests nothing
        docs.add(**rows(20_000, 20_100))
        agrees(path, behind)
        assert db.verify().ok


@pytest.mark.parametrize("n_others", [1, 2, 3])
def test_a_transaction_that_begins_with_a_read_shows_what_others_stored_after_a_rollback(tmp_path, n_others) -> None:
    path = str(tmp_path / "db")
    with connect(path) as db, connect(path) as other:
        docs = db.collection("docs", dim=2, metric="l2")
        docs.add(ids=[1], vectors=[[1, 0]], metadata=[{"n": 1}])
        with undone(db):
            docs.add(ids=[666], vectors=[[0, 0]], metadata=[{"n": 666}])
            assert docs.search([0, 0], k=1, where="n = 666").ids == [666]
        for at in range(n_others):
            other.collection("docs").add(ids=[2 + at], vectors=[[2 + at, 0]], metadata=[{"n": 2}])
        with db.transaction():
            hits = docs.search([0, 0])
            assert hits.ids == docs.search([0, 0], where="n < 9").ids == list(range(1, 2 + n_others))
            assert hits.distances.tolist() == hits.ids
            assert docs.count("n = 666") == 0
            assert docs.count("n = 2") == n_others
