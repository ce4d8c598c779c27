"""One atomic change: what it holds, who sees it, and what may not be done to it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vicinal.errors import AlreadyExists, Closed, InvalidInput, Locked

if TYPE_CHECKING:
    from collections.abc import Callable


class Undo(Exception):
    pass


def in_thread(call: Callable[[], Any]) -> Any:
    """Return what the call gives in another thread; raise what it raises."""
    box: list[Any] = []

    def run() -> None:
        try:
            box.append(call())
        except BaseException as error:  # noqa: BLE001 - handed over to the caller
            box.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert box, "the call hangs"
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


def test_all_or_nothing_across_collections_and_own_tables(db, three) -> None:
    db.execute("create table mine(x)")
    db.collection("other", dim=1, metric="l2")

    def change(outcome: type[BaseException] | None) -> None:
        with db.transaction() as tx:
            three.add(ids=["d"], vectors=[[0, 0]])
            three.update(where="n = 1", metadata={"n": 9})
            db.collection("other").add(ids=[1], vectors=[[1]])
            db.collection("new", dim=1)
            tx.execute("insert into mine values (?)", (1,))
            assert three.search([0, 0], k=2).ids == ["a", "d"]
            if outcome:
                raise outcome

    with pytest.raises(Undo):
        change(Undo)
    assert (len(three), three["a"].metadata, db.execute("select * from mine")) == (3, {"n": 1}, [])
    assert db.collections() == ["docs", "other"]
    change(None)
    assert (len(three), three["a"].metadata, db.execute("select * from mine")) == (4, {"n": 9}, [(1,)])
    assert db.collections() == ["docs", "new", "other"]


def test_a_nested_block_can_fail_alone_and_a_failed_call_undoes_only_itself(db, three) -> None:
    with db.transaction():
        three.delete(["a"])
        with contextlib.suppress(Undo), db.transaction():
            three.delete(["b"])
            raise Undo
        with pytest.raises(AlreadyExists):
            three.add(ids=["new", "c"], vectors=[[0, 0], [0, 0]])
        assert three.get().ids == ["b", "c"]
    assert three.get().ids == ["b", "c"]


def test_others_neither_see_it_nor_write_into_it(db, three) -> None:
    with db.transaction():
        three.delete(["a"])
        assert in_thread(lambda: three.search([0, 0]).ids) == ["a", "b", "c"]
        with pytest.raises(Locked, match="another thread or task"):
            in_thread(lambda: three.delete(["b"]))
        with pytest.raises(Locked):
            in_thread(lambda: db.execute("select 1"))
    assert in_thread(three.get).ids == ["b", "c"]


def test_a_thread_or_task_started_inside_is_another(db, three) -> None:
    async def main() -> None:
        with db.transaction():
            three.delete(["a"])
            assert (await asyncio.to_thread(three.get)).ids == ["a", "b", "c"]
            with pytest.raises(Locked):
                await asyncio.to_thread(three.delete, ["b"])

            async def task() -> list[str]:
                return three.get().ids

            assert await asyncio.create_task(task()) == ["a", "b", "c"]
            assert three.get().ids == ["b", "c"]

    in_thread(lambda: asyncio.run(main()))
    assert three.get().ids == ["b", "c"]


@pytest.mark.parametrize("sql", ["commit", "end", "rollback", "begin", "COMMIT; begin"])
def test_sql_cannot_end_it(db, three, sql) -> None:
    with contextlib.suppress(Undo), db.transaction() as tx:
        three.delete(["a"])
        with pytest.raises(InvalidInput, match=r"inside db.transaction\(\): leave its with-block"):
            tx.execute(sql)
        assert len(three) == 2
        raise Undo
    assert len(three) == 3


@pytest.mark.parametrize("sql", ["begin", "begin immediate", "savepoint a", "begin; insert into mine values (1)"])
def test_sql_cannot_leave_one_open(db, path, three, sql) -> None:
    db.execute("create table mine(x)")
    with pytest.raises(InvalidInput, match=r"use db.transaction\(\)"):
        db.execute(sql)
    three.delete(["a"])
    assert db.execute("select * from mine") == []
    assert in_thread(three.get).ids == ["b", "c"]  # committed


def test_after_its_end_it_is_no_more(db) -> None:
    db.execute("create table mine(x)")
    with db.transaction() as tx:
        tx.execute("insert into mine values (1)")
    with pytest.raises(Closed, match="this transaction has ended"):
        tx.execute("insert into mine values (2)")
    assert db.execute("select * from mine") == [(1,)]


@pytest.mark.parametrize("caught", [False, True])
def test_when_sql_has_rolled_everything_back_nothing_more_is_stored(db, three, caught) -> None:
    db.execute("create table mine(x unique); insert into mine values (1)")
    with pytest.raises((Closed, InvalidInput)), db.transaction() as tx:  # noqa: PT012 - a life in steps
        three.delete(["a"])
        with contextlib.suppress(InvalidInput):
            tx.execute("insert or rollback into mine values (1)")
        if caught:
            with pytest.raises(Closed, match="rolled this transaction back"):
                three.add(ids=["d"], vectors=[[0, 0]])
    assert three.get().ids == ["a", "b", "c"]
    three.add(ids=["e"], vectors=[[0, 0]])
    assert len(three) == 4


def test_savepoints_of_own_sql_take_rows_along(db, three) -> None:
    with db.transaction() as tx:
        three.delete(["a"])
        tx.execute("savepoint s")
        three.add(ids=["d"], vectors=[[0, 0]])
        assert three.search([0, 0], k=1).ids == ["d"]
        tx.execute("rollback to s")
        assert three.search([0, 0], k=1).ids == ["b"]
        three.add(ids=["e"], vectors=[[0, 0]])
        tx.execute("release s")
        assert three.search([0, 0], k=1).ids == ["e"]
    assert three.get().ids == ["b", "c", "e"]


def test_a_database_is_not_closed_or_copied_from_inside(db, three, tmp_path) -> None:
    with db.transaction():
        three.delete(["a"])
        with pytest.raises(InvalidInput, match="cannot be closed inside its own transaction"):
            db.close()
        with pytest.raises(InvalidInput, match="backup"):
            db.backup(str(tmp_path / "copy.db"))
    assert len(three) == 2


def test_a_write_over_several_blocks_is_rolled_back_whole(db) -> None:
    docs = db.collection("wide", dim=2, metric="l2")
    rng = np.random.default_rng(3)
    vectors, query = rng.standard_normal((300_000, 2)).astype(np.float32), np.float32([0.5, -0.5])
    distances = ((vectors.astype(np.float64) - query) ** 2).sum(axis=1)

    def found(n: int) -> bool:
        """Return whether the nearest are those among the first n, and so many are counted."""
        hits = docs.search(vector=query, k=5, exact=True, include=())
        return hits.ids == np.argsort(distances[:n])[:5].tolist() and docs.count() == n

    docs.add(ids=np.arange(70_000), vectors=vectors[:70_000])
    assert found(70_000)
    for undone in (True, False):
        with contextlib.suppress(Undo), db.transaction():
            docs.add(ids=np.arange(70_000, 300_000), vectors=vectors[70_000:])
            assert found(300_000)
            if undone:
                raise Undo
        assert found(70_000 if undone else 300_000)
