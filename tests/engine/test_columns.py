"""Columns read from joined JSON: lists that repeat are told apart by their text, or not at all."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vicinal
from vicinal import F
from vicinal.engine import columns
from vicinal.engine.columns import _repeated_lists
from vicinal.storage import fork

TEXTS = st.sampled_from(["a", "],[", '"],["', "]]", "[[", "\\", '\\"', '],["', "é", ""]) | st.text(max_size=4)
ELEMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
ROWS = st.lists(st.lists(ELEMENTS, max_size=3), min_size=1, max_size=4)


@given(rows=ROWS, others=st.lists(ELEMENTS, max_size=1), repeats=st.integers(8, 20))
def test_repeated_lists_are_those_of_the_text(rows: list[list[object]], others: list[object], repeats: int) -> None:
    values = rows * repeats + others
    found = _repeated_lists(json.dumps(values, separators=(",", ":")))
    if found is not None:
        distinct, places = found
        assert [distinct[place] for place in places] == values


def test_lists_of_tags_are_parsed_once_each() -> None:
    values = [["a", "b"], [], ["c"]] * 10
    found = _repeated_lists(json.dumps(values, separators=(",", ":")))
    assert found is not None
    assert found[0] == [["a", "b"], [], ["c"]]
    assert found[1].tolist() == [0, 1, 2] * 10


def test_different_lists_and_other_values_are_left_to_the_parser() -> None:
    for values in ([[number] for number in range(30)], [1] * 30, [["a"], {"$": 0}] * 15, [["a"], "b"] * 15):
        assert _repeated_lists(json.dumps(values, separators=(",", ":"))) is None


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(columns, "_READ_ROWS", 50)
    monkeypatch.setattr(columns, "_WORTH_TWO", 100)


def filled(path, n, **settings):
    db = vicinal.connect(path, maintenance=False, **settings)
    docs = db.collection("docs", dim=2)
    docs.add(ids=np.arange(n), vectors=np.ones((n, 2)), metadata=[{"n": at, "tags": [str(at % 3)]} for at in range(n)])
    return db, docs


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [49, 50, 99, 101, 1234])
def test_a_column_is_read_in_order_by_two_connections(tmp_path, small_pieces, monkeypatch, threads, n):
    used = []
    texts = columns.rows.field_texts
    monkeypatch.setattr(columns.rows, "field_texts", lambda one, *rest: (used.append(id(one)), texts(one, *rest))[1])
    db, docs = filled(tmp_path / "a.db", n, threads=threads)
    with db:
        assert docs.get(where=F("n") >= n - 3, include=()).ids == [*range(n - 3, n)]
        used.clear()
        assert docs.count(F("tags").contains("1")) == len(range(1, n, 3))
        assert len(set(used)) == (2 if threads == 2 and n > 50 else 1)


def test_a_second_connection_is_not_asked_for_what_it_cannot_see(tmp_path, small_pieces):
    db, docs = filled(tmp_path / "a.db", 500)
    with db, db.transaction():
        docs.update(where=F("n") < 100, metadata={"n": -1, "new": 1})
        assert docs.count(F("new") == 1) == 100
        assert docs.count(F("n") == -1) == 100


def test_a_commit_of_others_after_the_snapshot_is_seen_by_neither(tmp_path, small_pieces):
    db, docs = filled(tmp_path / "a.db", 500)
    with db, vicinal.connect(tmp_path / "a.db", maintenance=False) as other:
        with db._backend.snapshot():
            assert docs.count() == 500
            other.collection("docs").update(where=F("n") < 100, metadata={"n": -1})
            assert docs.count(F("n") == -1) == 0
        assert docs.count(F("n") == -1) == 100


def test_reading_that_is_cut_short_keeps_no_snapshot_and_no_thread(tmp_path, small_pieces, monkeypatch):
    db, docs = filled(tmp_path / "a.db", 500)
    extended, pieces = columns._extended, iter(range(4))

    def cut(*arguments):
        if next(pieces, None) is None:
            raise KeyboardInterrupt
        return extended(*arguments)

    monkeypatch.setattr(columns, "_extended", cut)
    with db:
        with pytest.raises(KeyboardInterrupt) as kept:
            docs.count(F("n") == 3)
        monkeypatch.setattr(columns, "_extended", extended)
        assert kept.traceback  # as a caller may keep it
        assert not any(thread.name.startswith("vicinal-read") for thread in threading.enumerate())
        assert not any(
            session.connection.in_transaction for session in fork._sessions if session.path == str(tmp_path / "a.db")
        )
        assert docs.count(F("n") == 3) == 1
