"""Orders, pages and snapshots."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import numpy as np
import pytest

import vicinal
from vicinal.errors import InvalidInput, SpecMismatch, Unsupported


def fill(docs: vicinal.Collection, n: int) -> None:
    docs.add(ids=list(range(n)), vectors=np.ones((n, 2)), metadata=[{"n": at} for at in range(n)])


MIXED = [
    *(False, True, -5, -0.5, 2**53, 2.0**53 + 2, 2**53 + 3, 1e300),
    *(datetime(1, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
    *("", "A", "a", "aa", "é", "\uffff", "😀"),
]


def test_mixed_types_have_one_order_and_rows_without_the_field_come_last(docs) -> None:
    shuffled = np.random.default_rng(5).permutation(len(MIXED)).tolist()
    metadata = [{}, {"v": None}, *({"v": MIXED[at]} for at in shuffled)]
    docs.add(ids=list(range(len(metadata))), vectors=np.ones((len(metadata), 2)), metadata=metadata)
    up = [row.metadata.get("v") for row in docs.get(order_by="v")]
    assert [repr(value) for value in up] == [repr(value) for value in [*MIXED, None, None]]
    down = [row.metadata.get("v") for row in docs.get(order_by="-v")]
    assert down == [*reversed(MIXED), None, None]
    assert docs.get(order_by="v").ids[-2:] == docs.get(order_by="-v").ids[-2:] == [0, 1]


def test_several_keys_pages_and_ids_go_together(docs) -> None:
    fill(docs, 10)
    docs.update(where="n >= 5", metadata={"late": True, "deep": {"x": 1}})
    wanted = [5, 6, 7, 8, 9, 4, 3, 2, 1, 0]
    assert docs.get(order_by=["late", "deep.x"], limit=5).ids == wanted[:5]
    assert docs.get(order_by=["-late", "-n"]).ids == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert docs.get(order_by="-n", offset=3, limit=2).ids == [6, 5]
    assert docs.get([1, 8, 3], order_by="-n").ids == [8, 3, 1]
    assert docs.get([8, 1, 3], where="n > 1", offset=1).ids == [3]
    assert docs.get(offset=8).ids == [8, 9]
    assert docs.get(offset=99).ids == docs.get(limit=0).ids == []


def test_every_row_present_throughout_comes_exactly_once(docs) -> None:
    fill(docs, 500)
    seen: list[int] = []
    stop = threading.Event()

    def churn() -> None:
        at = 1000
        while not stop.is_set():
            docs.upsert(ids=[at % 250], vectors=[[2, 2]])  # replaced, so present throughout
            docs.add(ids=[at], vectors=[[1, 1]])
            docs.delete([at - 3])
            at += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for page in docs.iterate(batch_size=7):
            seen += [identity for identity in page.ids if identity < 500]
    finally:
        stop.set()
        thread.join()
    assert sorted(seen) == list(range(500))


def test_pages_hold_what_passes(docs) -> None:
    fill(docs, 20)
    pages = list(docs.iterate(where="n >= 3 and n != 5", batch_size=4, include=["metadata"]))
    assert [len(page) for page in pages] == [4, 4, 4, 4]
    assert [row.metadata["n"] for page in pages for row in page] == [3, 4, *range(6, 20)]


def test_a_snapshot_does_not_see_what_its_loop_writes(docs) -> None:
    fill(docs, 10)
    seen = []
    for page in docs.iterate(batch_size=3, snapshot=True):
        seen += page.ids
        docs.add(ids=[100 + len(seen)], vectors=[[1, 1]])
        docs.delete([9, 8])
        assert 9 not in docs  # the loop itself sees the present
    assert seen == list(range(10))
    assert len(docs) == 12


def test_a_snapshot_may_be_read_by_several_threads_and_left_early(docs) -> None:
    fill(docs, 10)
    pages = docs.iterate(batch_size=4, snapshot=True)
    seen = next(pages).ids
    docs.delete(list(range(10)))
    thread = threading.Thread(target=lambda: seen.extend(next(pages).ids))
    thread.start()
    thread.join(10)
    assert seen == list(range(8))
    pages.close()
    docs.add(ids=[1], vectors=[[1, 1]])
    assert docs.get().ids == [1]


def test_memory_has_no_snapshots() -> None:
    with vicinal.connect(":memory:") as db:
        docs = db.collection("docs", dim=2)
        fill(docs, 3)
        with pytest.raises(Unsupported, match="no snapshots"):
            next(docs.iterate(snapshot=True))
        assert [page.ids for page in docs.iterate(batch_size=2)] == [[0, 1], [2]]


def test_order_by_a_key_that_contains_a_dot(db) -> None:
    docs = db.collection("dotted", dim=2)
    docs.add(ids=["a", "b"], vectors=[[1, 0], [0, 1]], metadata=[{"v.1": 2}, {"v.1": 1}])
    assert docs.get(order_by='"v.1"').ids == ["b", "a"]
    assert docs.get(order_by='-"v.1"').ids == ["a", "b"]


def test_a_snapshot_inside_a_transaction_is_refused(db) -> None:
    docs = db.collection("held", dim=2)
    docs.add(vectors=[[1, 0]])
    with db.transaction(), pytest.raises(InvalidInput, match="would not stand still"):
        list(docs.iterate(snapshot=True))


def test_a_handle_of_a_collection_created_anew_is_refused(db) -> None:
    old = db.collection("again", dim=2, metric="l2")
    old.add(vectors=[[1, 0]])
    db.drop("again")
    db.collection("again", dim=2, metric="dot").add(vectors=[[1, 0]])
    for call in (lambda: old.search([1, 0]), lambda: old.add(vectors=[[1, 1]])):
        with pytest.raises(SpecMismatch, match="created anew"):
            call()
