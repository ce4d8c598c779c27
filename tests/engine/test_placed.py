"""Where the rows of a graph are after changes: followed step by step, the same as found from the beginning."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

import vicinal
from vicinal.engine.read import spec_of
from vicinal.engine.structures import held
from vicinal.errors import Corrupted

N, DIM = 2000, 8


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((2 * N, DIM)).astype(np.float32)


def places(db):
    """Return the places that searches use, and those found anew; that steps were followed, not begun again."""
    with db._backend._view("docs") as view:
        [entry] = view.record.fields
        spec, slot_map = spec_of(entry), view.slots(entry)
        found = held.structured(view, entry, spec, slot_map)
        anew = held._placed(view, entry, spec, slot_map, found.row_slots, found.covered)
        assert found.placed.alive is slot_map.live
        return found.placed, anew


def same(placed, anew):
    for name in ("positions", "loose", "loose_vectors"):
        np.testing.assert_array_equal(getattr(placed, name), getattr(anew, name))
    every = np.ones(len(anew.positions), np.bool_)
    for name in ("present", "live"):
        mine, theirs = getattr(placed, name), getattr(anew, name)
        np.testing.assert_array_equal(every if mine is None else mine, every if theirs is None else theirs)
    assert placed.length == anew.length
    assert placed.slots.length == anew.slots.length


def test_places_are_followed_through_changes(tmp_path, vectors, monkeypatch):
    with vicinal.connect(tmp_path / "a.db", maintenance=False) as db:
        docs = db.collection("docs", dim=DIM)
        docs.add(ids=list(range(N)), vectors=vectors[:N])
        docs.index("hnsw")
        same(*places(db))

        full, calls = held._placed, []
        monkeypatch.setattr(held, "_placed", lambda *given: calls.append(1) or full(*given))
        rng, living, added = np.random.default_rng(1), list(range(N)), N
        for turn in range(12):
            before = len(calls)
            if turn % 3:
                gone = rng.choice(len(living), 40, replace=False)
                docs.delete([living[at] for at in gone])
                living = [each for at, each in enumerate(living) if at not in set(gone.tolist())]
            if turn % 2:
                docs.add(ids=list(range(added, added + 7)), vectors=vectors[added : added + 7])
                living += range(added, added + 7)
                added += 7
            same(*places(db))
            assert len(calls) == before + 1  # the one of this test
        shown = docs.search(vectors[living[0]], k=len(living), effort={"ef": 4 * N}, include=()).ids
        assert set(shown) <= set(living)


def test_what_came_back_is_placed_anew(tmp_path, vectors):
    with vicinal.connect(tmp_path / "a.db", maintenance=False) as db:
        docs = db.collection("docs", dim=DIM)
        docs.add(ids=list(range(N)), vectors=vectors[:N])
        docs.index("hnsw")
        places(db)
        with suppress(KeyError), db.transaction():
            docs.delete(list(range(100)))
            same(*places(db))
            raise KeyError
        same(*places(db))
        docs.delete(list(range(N - 20)))
        db.compact()
        try:
            same(*places(db))
        except Corrupted:
            pytest.fail("rows of the graph are missing")
