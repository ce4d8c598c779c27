"""Large collections: searches go over codes, find at least the recall asked for, and never miss what was just added."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import vicinal
from vicinal import F
from vicinal.errors import InvalidInput, NotFound

N, DIM = 40_000, 48


def vectors_of(n, seed):
    """Clustered vectors (n, DIM): 200 clusters that overlap."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((200, DIM))
    return (centres[rng.integers(0, 200, n)] + 0.8 * rng.standard_normal((n, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.db"
    with vicinal.connect(path, maintenance=False) as opened:
        docs = opened.collection("docs", dim=DIM)
        rows = vectors_of(N, 1)
        for start in range(0, N, 10_000):
            part = range(start, start + 10_000)
            docs.add(ids=list(part), vectors=rows[start : start + 10_000], metadata=[{"n": n % 1000} for n in part])
        yield opened


@pytest.fixture(scope="module")
def docs(db):
    return db.collection("docs")


def nearest(rows, query, k, mask=None):
    """Distances of the true k nearest by cosine, ascending."""
    x = rows if mask is None else rows[mask]
    x, q = x.astype(np.float64), query.astype(np.float64)
    return np.sort(1 - x @ q / (np.linalg.norm(x, axis=1) * np.linalg.norm(q)))[:k]


def recall_of(hits, true):
    return np.count_nonzero(hits.distances <= true[-1] * (1 + 1e-6)) / len(true)


@pytest.mark.parametrize("asked", [0.8, 0.95, 0.99])
def test_finds_the_recall_asked_for_at_once(docs, asked):
    rows, queries = vectors_of(N, 1), vectors_of(60, 2)
    found = [recall_of(docs.search(query, k=10, recall=asked), nearest(rows, query, 10)) for query in queries]
    assert np.mean(found) >= asked - 0.02
    batch = docs.search_batch(queries, k=10, recall=asked)
    found = [recall_of(hits, nearest(rows, query, 10)) for hits, query in zip(batch, queries, strict=True)]
    assert np.mean(found) >= asked - 0.02


def uncoded(db):
    return db.execute("select next_slot - covered from vicinal_field where name = 'vector'")[0][0]


def test_codes_come_with_the_write_and_go_with_it(tmp_path):
    rows = vectors_of(22_000, 5)
    with vicinal.connect(tmp_path / "with.db", maintenance=False) as db:
        docs = db.collection("docs", dim=DIM)
        docs.add(ids=list(range(20_000)), vectors=rows[:20_000])
        assert uncoded(db) == 0
        docs.add(ids=[-1], vectors=rows[:1] * 1.5)
        assert uncoded(db) == 1  # so few are compared exactly
        with contextlib.suppress(ZeroDivisionError), db.transaction():
            docs.add(ids=list(range(20_000, 21_000)), vectors=rows[20_000:21_000])
            assert uncoded(db) == 0
            assert docs.search(rows[20_500], k=1, include=()).ids == [20_500]
            1 / 0  # noqa: B018
        assert uncoded(db) == 1
        assert docs.search(rows[20_500], k=1, include=()).ids != [20_500]
        docs.add(ids=list(range(21_000, 22_000)), vectors=rows[21_000:])
        assert uncoded(db) == 0
        assert docs.search(rows[21_500], k=1, include=()).ids == [21_500]
        assert db.verify().ok


def test_exact_is_exact(docs):
    rows = vectors_of(N, 1)
    for query in vectors_of(5, 3):
        hits = docs.search(query, k=20, exact=True)
        assert np.allclose(hits.distances, nearest(rows, query, 20), atol=1e-6)
        assert docs.explain(query, exact=True).recall == 1.0


@pytest.mark.parametrize("below", [900, 500, 100, 10, 1])
def test_filters_never_starve(docs, below):
    rows, mask = vectors_of(N, 1), np.arange(N) % 1000 < below
    found = []
    for query in vectors_of(20, 4):
        hits = docs.search(query, k=50, where=F("n") < below)
        assert len(hits) == min(50, mask.sum())
        assert all(hit.metadata["n"] < below for hit in hits)
        found.append(recall_of(hits, nearest(rows, query, 50, mask)))
    assert np.mean(found) >= 0.94


def test_a_filter_that_excludes_what_is_near(tmp_path):
    rows = vectors_of(N, 1)
    far = vectors_of(1, 9)[0]
    away = rows @ far < np.quantile(rows @ far, 0.3)  # the rows least like the query
    with vicinal.connect(tmp_path / "v.db", maintenance=False) as db:
        docs = db.collection("docs", dim=DIM)
        docs.add(vectors=rows, metadata=[{"away": bool(each)} for each in away])
        hits = docs.search(far, k=10, where=F("away") == True)  # noqa: E712 - a filter
        assert recall_of(hits, nearest(rows, far, 10, away)) >= 0.9


def test_what_was_added_is_found_at_once(docs):
    row = -vectors_of(1, 5)[0]
    docs.upsert(ids=[-1], vectors=[row])
    assert docs.search(row, k=1).ids == [-1]
    other = -vectors_of(1, 6)[0]
    docs.update(ids=[-1], vectors=[other])
    assert docs.search(other, k=1).ids == [-1]
    assert docs.search(row, k=1).ids != [-1]
    docs.delete([-1])
    assert docs.search(other, k=1).ids != [-1]


def test_measures_its_recall(docs):
    report = docs.measure_recall(n=50)
    assert (report.k, report.asked, report.queries) == (10, 0.95, 50)
    assert 0.9 <= report.low <= report.recall <= report.high <= 1.0
    worse = docs.measure_recall(vectors_of(50, 7), recall=0.3, k=5)
    assert worse.recall <= report.recall
    assert "recall@5" in str(worse)


def test_similar_rows_without_the_row_itself(docs):
    rows = vectors_of(N, 1)
    hits = docs.similar(17, k=10, exact=True)
    assert 17 not in hits.ids
    true = nearest(rows, rows[17], 11)
    assert np.allclose(hits.distances, true[1:], atol=1e-6)
    assert 17 not in docs.similar(17, k=3, where=F("n") == 17).ids
    with pytest.raises(NotFound, match="no row 999999"):
        docs.similar(999_999)


def test_radius_is_the_largest_distance(docs):
    query = vectors_of(1, 8)[0]
    hits = docs.search(query, k=200, exact=True)
    radius = float(hits.distances[57])
    near = docs.search(query, k=200, radius=radius, exact=True)
    assert near.ids == hits.ids[: np.count_nonzero(hits.distances <= radius)]
    assert len(docs.search(query, k=10, radius=-1.0)) == 0
    batch = docs.search_batch([query, query], k=200, radius=radius, arrays=True)
    assert np.isfinite(batch.distances).sum() <= 2 * len(near)
    for bad in ("0.5", True, float("nan")):
        with pytest.raises(InvalidInput, match="radius is a distance"):
            docs.search(query, radius=bad)


def test_explains_its_plan(docs, db):
    query = vectors_of(1, 10)[0]
    explained = docs.explain(query, k=10)
    assert "code scan" in explained.plan or "code scan" in explained.rejected
    db.compact()  # maintenance measures, too
    for _ in range(3):
        explained = docs.explain(query, k=10)
    assert explained.recall is not None
    assert explained.recall >= 0.95
    few = docs.explain(query, k=10, where=F("n") == 3)
    assert few.plan.startswith("exact")
    assert few.passing == 40
