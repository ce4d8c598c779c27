"""The exact answer is exact, and recall counts what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vicinal.bench.truth import distances_between, exact, recall

METRICS = ["cosine", "l2", "dot"]


def naive(left, right, metric):
    """A distance as the textbook writes it, number by number."""
    left, right = [float(value) for value in left], [float(value) for value in right]
    product = math.fsum(a * b for a, b in zip(left, right, strict=True))
    if metric == "dot":
        return -product
    if metric == "l2":
        return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(left, right, strict=True)))
    return 1 - product / math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0, 1000])
def test_exact_agrees_with_an_independent_brute_force(metric, offset):
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(300, 7)) + offset).astype(np.float32)
    queries = (rng.normal(size=(9, 7)) + offset).astype(np.float32)
    truth = exact(vectors, queries, 6, metric)
    for at, query in enumerate(queries):
        expected = sorted((naive(row, query, metric), identity) for identity, row in enumerate(vectors))[:6]
        np.testing.assert_allclose(truth.distances[at], [distance for distance, _ in expected], rtol=1e-9, atol=1e-12)
        assert set(truth.ids[at]) == {identity for _, identity in expected}


def test_blocks_do_not_change_the_answer(monkeypatch):
    rng = np.random.default_rng(5)
    vectors, queries = rng.normal(size=(500, 4)).astype(np.float32), rng.normal(size=(20, 4)).astype(np.float32)
    whole = exact(vectors, queries, 10, "l2")
    monkeypatch.setattr("vicinal.bench.truth._ROWS", 33)
    monkeypatch.setattr("vicinal.bench.truth._QUERIES", 7)
    parts = exact(vectors, queries, 10, "l2")
    assert parts.ids.tolist() == whole.ids.tolist()


def test_fewer_rows_than_k():
    vectors = np.eye(3, dtype=np.float32)
    truth = exact(vectors, vectors[:1], 10, "l2")
    assert truth.ids.tolist() == [[0, 1, 2]]
    assert recall(truth, vectors, vectors[:1], np.array([[0, 2, -1]]), "l2") == pytest.approx(2 / 3)


def test_ties_are_no_errors():
    vectors = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [5, 5]], np.float32)
    truth = exact(vectors, vectors[:1], 2, "l2")
    for other in (1, 2, 3):
        assert recall(truth, vectors, vectors[:1], np.array([[0, other]]), "l2") == 1
    assert recall(truth, vectors, vectors[:1], np.array([[0, 4]]), "l2") == 0.5


def test_the_tolerance_is_a_millionth():
    vectors = np.array([[1.0], [1 + 5e-7], [1 + 1e-5]], np.float32)
    query = np.zeros((1, 1), np.float32)
    truth = exact(vectors, query, 1, "l2")
    found = [recall(truth, vectors, query, np.array([[identity]]), "l2") for identity in range(3)]
    assert found == [1, 1, 0]


def test_an_id_twice_counts_once_and_an_unknown_one_not_at_all():
    vectors = np.zeros((4, 2), np.float32)
    truth = exact(vectors, vectors[:1], 4, "l2")
    assert recall(truth, vectors, vectors[:1], np.array([[2, 2, -1, 99]]), "l2") == 0.25


def test_only_the_first_k_count():
    vectors = np.arange(6, dtype=np.float32)[:, None]
    truth = exact(vectors, vectors[:1], 1, "l2")
    assert recall(truth, vectors, vectors[:1], np.array([[5, 0]]), "l2") == 0


def test_recall_is_of_the_queries_that_were_asked():
    vectors = np.arange(6, dtype=np.float32)[:, None]
    truth = exact(vectors, vectors, 1, "l2")
    assert recall(truth, vectors, vectors, np.array([[0], [1], [5]]), "l2") == pytest.approx(2 / 3)


def test_distances_of_equal_vectors():
    row = np.array([[3, 4]], np.float32)
    assert distances_between(row, row[0], "cosine") == pytest.approx(0, abs=1e-15)
    assert distances_between(row, row[0], "dot") == -25
