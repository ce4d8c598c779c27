"""Vectors read by two connections side by side: the same as by one, and damage is told alike."""

from __future__ import annotations

import contextlib

import apsw
import numpy as np
import pytest

import vicinal
from vicinal.engine import loading
from vicinal.errors import Corrupted
from vicinal.index import BLOCK_ROWS

N, DIM = 2 * BLOCK_ROWS + 777, 4


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(5).standard_normal((N, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def filled(tmp_path_factory, vectors):
    path = tmp_path_factory.mktemp("twins") / "a.db"
    with vicinal.connect(path, maintenance=False, durability="relaxed") as db:
        db.collection("docs", dim=DIM, metric="l2").add(ids=np.arange(N), vectors=vectors)
    return path


@pytest.mark.parametrize("taken", [1, 1000])
@pytest.mark.parametrize(("threads", "connections"), [(1, 1), (2, 2)])
def test_all_vectors_are_read_in_place(filled, vectors, monkeypatch, taken, threads, connections) -> None:
    monkeypatch.setattr(loading, "_TAKEN", taken)
    read_all, used = loading._read_all, []
    monkeypatch.setattr(
        loading, "_read_all", lambda readers, chunks: (used.append(len(readers)), read_all(readers, chunks))
    )
    with vicinal.connect(filled, maintenance=False, threads=threads) as db:
        docs = db.collection("docs")
        for at in (0, BLOCK_ROWS - 1, BLOCK_ROWS, N - 1):
            hits = docs.search(vector=vectors[at], k=1, exact=True, include=())
            assert (hits.ids, hits.distances.tolist()) == ([at], [0.0])
        backend = db._backend
        assert set(used) == {connections}
        with backend._view("docs") as view:
            held = view.parts.peek(view.record, ("vectors", view.record.fields[0].id))
        np.testing.assert_array_equal(held.fetch(np.arange(N)), vectors)


def test_a_transaction_reads_its_own_changes_alone(filled, vectors) -> None:
    with vicinal.connect(filled, maintenance=False) as db:
        docs = db.collection("docs")
        with contextlib.suppress(KeyError), db.transaction():
            docs.update(ids=[5], vectors=vectors[:1] + 50)
            assert docs.search(vector=vectors[0] + 50, k=1, exact=True, include=()).ids == [5]
            raise KeyError
        assert docs.search(vector=vectors[5], k=1, exact=True, include=()).ids == [5]


def test_missing_vectors_are_told_by_either_reader(filled, vectors, tmp_path) -> None:
    with vicinal.connect(filled, maintenance=False) as db:
        db.backup(tmp_path / "b.db")
    connection = apsw.Connection(str(tmp_path / "b.db"))
    connection.execute("delete from vicinal_vector where key = (select max(key) from vicinal_vector)")
    connection.close()
    with vicinal.connect(tmp_path / "b.db", maintenance=False) as db:
        docs = db.collection("docs")
        with pytest.raises(Corrupted, match="vectors of slots"):
            docs.search(vector=vectors[0], k=1, exact=True)
