from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.errors import Corrupted, InvalidInput
from vicinal.index import (
    Block,
    Centroids,
    Codebook,
    CodedLists,
    CodeSegment,
    Effort,
    Lists,
    candidates_of,
    default_nlist,
    rerank,
    row_norms,
    search_flat,
)
from vicinal.vectors import VectorSpec, distances

from .definition import clustered

KINDS = [("f32", "cosine", 32), ("f32", "l2", 17), ("f32", "dot", 32), ("f16", "l2", 40), ("i8", "cosine", 24)]
KINDS += [("i8", "dot", 24), ("f16", "dot", 16)]
BOTH = ("ivf", "scann")


def vectors_at(x):
    return lambda rows: x.take(rows, axis=0)


def made(kind, x, spec, centroids, book=None, first=0):
    if kind == "ivf":
        return Lists(centroids, centroids.assign(x), vectors_at(x), first)
    return CodedLists(centroids, centroids.assign(x), book, book.encode(x), first)


@cache
def field(dtype, metric, dim, n=4000, nlist=40):
    spec = VectorSpec(dim=dim, dtype=dtype, metric=metric)
    x, queries = clustered(n, spec, seed=dim)
    centroids = Centroids.train(x, spec, nlist)
    book = Codebook.train(x, spec, 2)
    return spec, x, queries, centroids, book, {kind: made(kind, x, spec, centroids, book) for kind in BOTH}


def recall_of(index, x, queries, spec, effort, mask=None):
    """Share of the 10 nearest among re-ranked candidates; ties of equal distance count."""
    hits, k = [], 10
    truth = search_flat([Block(0, x, row_norms(x, spec), mask)], queries, spec, k)
    for query, (_, due) in zip(queries, truth, strict=True):
        positions, _ = candidates_of(index, query, effort, mask)
        assert len(set(positions.tolist())) == len(positions)
        assert mask is None or mask[positions].all()
        _, found = rerank(query, positions, vectors_at(x), spec, k)
        limit = due[:k][-1]
        hits.append(np.count_nonzero(found <= limit + 1e-5 * abs(limit)) >= np.arange(1, len(due[:k]) + 1))
    return float(np.mean(hits))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS)
def test_recall_by_metric_and_type(dtype, metric, dim, kind):
    spec, x, queries, _, _, indexes = field(dtype, metric, dim)
    # Seen with these seeds: at least .95 of a quarter of the lists, 1.0 of all.
    assert recall_of(indexes[kind], x, queries, spec, Effort(depth=100, nprobe=10)) >= 0.9
    assert recall_of(indexes[kind], x, queries, spec, Effort(depth=200, nprobe=40)) >= 0.99


@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS)
def test_all_lists_are_exact(dtype, metric, dim):
    spec, x, queries, _, _, indexes = field(dtype, metric, dim)
    for query in queries[:10]:
        for mask in (None, np.random.default_rng(0).random(len(x)) < 0.4):
            positions, values = indexes["ivf"].candidates(query, 25, mask, nprobe=40)
            exact = distances(query, x, spec)
            exact[~mask if mask is not None else []] = np.inf
            kth = np.sort(exact)[24]
            assert (exact[positions] <= kth + 1e-5 * abs(kth)).all()
            product = x[positions].astype(float) @ query.astype(float) / np.linalg.norm(query.astype(float))
            expected = {"cosine": exact[positions] - 1, "l2": exact[positions] ** 2, "dot": -product}[metric]
            assert np.allclose(values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS[:3])
@pytest.mark.parametrize("mask_kind", ["half", "tenth", "few", "one", "none", "all", "near", "far"])
def test_masks_cost_no_recall(dtype, metric, dim, mask_kind, kind):
    spec, x, queries, _, _, indexes = field(dtype, metric, dim)
    rng = np.random.default_rng(5)
    share = {"half": 0.5, "tenth": 0.1, "few": 0.005, "none": 0.0, "all": 1.0}
    near = indexes["ivf"].candidates(queries[0], len(x), nprobe=40)[0]
    mask = rng.random(len(x)) < share.get(mask_kind, 2.0)
    if mask_kind in ("one", "near", "far"):
        mask[:] = False
        mask[{"one": [77], "near": near[:600], "far": near[-600:]}[mask_kind]] = True
    passing = int(mask.sum())
    for depth in (1, 30, 5000):
        for nprobe in (1, 40, None):
            positions, values = indexes[kind].candidates(queries[0], depth, mask, nprobe=nprobe)
            assert len(positions) == len(values) == len(set(positions.tolist())) == min(depth, passing)
            assert mask[positions].all()
            assert (np.diff(values) >= 0).all()
    if passing:
        assert recall_of(indexes[kind], x, queries, spec, Effort(depth=100, nprobe=10), mask) >= 0.9


@pytest.mark.parametrize("kind", BOTH)
def test_candidates_are_sorted_distinct_counted_and_shifted(kind):
    spec, x, queries, centroids, book, indexes = field("f32", "l2", 17)
    index, shifted = indexes[kind], made(kind, x, spec, centroids, book, 1000)
    assert (len(index), index.first, shifted.first) == (4000, 0, 1000)
    assert index.nbytes > 0
    for depth in (1, 7, 500, 4000, 9000):
        positions, values = index.candidates(queries[0], depth, nprobe=2)
        assert (positions.dtype, values.dtype) == (np.int64, np.float32)
        assert len(set(positions.tolist())) == len(positions) == min(depth, len(x))
        assert (np.diff(values) >= 0).all()
        assert np.array_equal(shifted.candidates(queries[0], depth, nprobe=2)[0], positions + 1000)
    for depth in (0, -1):
        assert len(index.candidates(queries[0], depth)[0]) == 0


def test_codes_of_all_lists_rank_as_the_scan_does():
    _, x, queries, _, book, indexes = field("f32", "cosine", 32)
    segment = CodeSegment(book, book.encode(x))
    for query in queries[:10]:
        scanned = segment.candidates(query, 30)
        listed = indexes["scann"].candidates(query, 30, nprobe=40)
        assert np.allclose(scanned[1], listed[1], atol=0.02)
        assert len(np.intersect1d(scanned[0], listed[0])) >= 26


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS)
def test_arrays_round_trip(dtype, metric, dim, kind):
    spec, x, queries, centroids, book, indexes = field(dtype, metric, dim)
    again = Centroids.from_arrays(spec, centroids.arrays())
    lists = indexes[kind].lists
    assert lists.dtype == np.int32
    assert np.array_equal(lists, centroids.assign(x))
    assert np.array_equal(lists, again.assign(x))
    twin = Lists(again, lists, vectors_at(x)) if kind == "ivf" else CodedLists(again, lists, book, book.encode(x))
    for query in queries[:10]:
        for a, b in zip(indexes[kind].candidates(query, 20), twin.candidates(query, 20), strict=True):
            assert np.array_equal(a, b)


def test_training_is_deterministic_and_counts_lists():
    spec, x, _, _, _, _ = field("f32", "cosine", 32)
    one, two, other = (Centroids.train(x, spec, 20, seed=seed) for seed in (4, 4, 5))
    assert np.array_equal(one.centroids, two.centroids)
    assert not np.array_equal(one.centroids, other.centroids)
    assert (one.nlist, one.spec) == (20, spec)
    assert Centroids.train(x, spec).nlist == default_nlist(4000) == 128
    assert [default_nlist(n) for n in (0, 1, 1000, 10**6, 10**12)] == [1, 2, 64, 2048, 65_536]
    assert one.assign(x[:0]).shape == (0,)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("n", [0, 1, 2, 33, 300])
def test_few_rows_in_many_lists(n, kind):
    spec = VectorSpec(dim=16, metric="l2")
    x, queries = clustered(600, spec)
    centroids, book = Centroids.train(x, spec, 500), Codebook.train(x, spec, 2)
    index = made(kind, x[:n], spec, centroids, book)
    for depth in (1, n, n + 3):
        for mask in (None, np.ones(n, bool), np.arange(n) % 2 == 0, np.zeros(n, bool)):
            due = min(depth, n if mask is None else int(mask.sum()))
            for nprobe in (1, None, 500):
                positions, _ = index.candidates(queries[0], depth, mask, nprobe=nprobe)
                assert len(set(positions.tolist())) == len(positions) == due


@pytest.mark.parametrize("kind", BOTH)
def test_equal_rows(kind):
    spec = VectorSpec(dim=16, metric="l2")
    x = np.ones((500, 16), np.float32)
    centroids, book = Centroids.train(x, spec, 8), Codebook.train(x, spec)
    positions, _ = made(kind, x, spec, centroids, book).candidates(x[0], 400, nprobe=1)
    assert len(set(positions.tolist())) == 400
    one = Centroids.train(x[:1], spec)
    assert one.nlist == 1


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("size", [1e-41, 1e-20, 1e20, 3e38])
def test_extreme_numbers_are_found(metric, size):
    spec = VectorSpec(dim=16, metric=metric)
    rng = np.random.default_rng(3)
    x = (rng.uniform(-1, 1, (600, 16)) * size).astype(np.float32)
    x[0] = 3.4e38
    centroids = Centroids.train(x, spec, 10)
    for kind in BOTH:
        index = made(kind, x, spec, centroids, Codebook.train(x, spec, 2))
        positions, values = index.candidates(x[5], 60, nprobe=5)
        assert len(set(positions.tolist())) == 60
        assert not np.isnan(values).any()


@pytest.mark.parametrize("kind", BOTH)
def test_threads_may_search_at_once(kind):
    _, x, queries, _, _, indexes = field("f32", "cosine", 32)
    mask = np.arange(len(x)) % 3 > 0
    alone = [indexes[kind].candidates(query, 20, mask)[0].tolist() for query in queries]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: indexes[kind].candidates(query, 20, mask)[0].tolist(), [*queries] * 8))
    assert together == alone * 8


def test_wrong_input_is_refused():
    spec, x, queries, _, _, indexes = field("f32", "cosine", 32)
    for nlist in (0, 4001, 70_000, 2.0, True):
        with pytest.raises(InvalidInput, match="nlist must be a whole number from 1 to 4000"):
            Centroids.train(x, spec, nlist)
    with pytest.raises(InvalidInput, match="at least one vector"):
        Centroids.train(x[:0], spec)
    for wrong in (x[:, :31], x.astype(np.float64), x[0]):
        with pytest.raises(InvalidInput, match="expected vectors"):
            Centroids.train(wrong, spec)
    for bad in (VectorSpec(dim=32, metric="l1"), VectorSpec(dim=32, dtype="bit")):
        with pytest.raises(InvalidInput, match="graphs and lists are for"):
            Centroids.train(np.ones((3, bad.width), bad.storage_dtype), bad)
    for index in indexes.values():
        for nprobe in (0, -1, 1.5, 70_000):
            with pytest.raises(InvalidInput, match="nprobe must be a whole number"):
                index.candidates(queries[0], 5, nprobe=nprobe)
        with pytest.raises(InvalidInput, match=r"query of shape \(32,\), got \(31,\)"):
            index.candidates(queries[0][:31], 5)
        with pytest.raises(InvalidInput, match="not finite"):
            index.candidates(queries[0] * np.float32(np.inf), 5)
        for mask in (np.ones(3999, bool), np.ones(4000, np.uint8)):
            with pytest.raises(InvalidInput, match="expected a bool mask"):
                index.candidates(queries[0], 5, mask)
    for name in ("depth", "ef", "nprobe"):
        with pytest.raises(InvalidInput, match=f"{name} must be at least 1, got 0"):
            Effort(**{"depth": 1} | {name: 0})


DAMAGES = [
    ("centroids", lambda a: a.astype(np.float64), "centroids must be a float32 array"),
    ("centroids", lambda a: a[:, :-1], "centroids must have shape"),
    ("centroids", lambda a: a[:0], "0 centroids"),
    ("centroids", lambda a: np.zeros((65_537, 32), np.float32), "65537 centroids"),
    ("centroids", lambda a: a.ravel(), "centroids must be"),
    ("centroids", lambda a: a * np.float32(np.nan), "not a number in range"),
    ("centroids", lambda a: a * 0 + np.float32(np.inf), "not a number in range"),
    ("centroids", lambda a: a * 0 - np.float32(1e30), "not a number in range"),
    ("centroids", lambda a: a.tolist(), "centroids must be"),
    ("centroids", lambda a: None, "centroids must be"),
    ("scale", lambda a: a * 0, "scale 0.0 is not from"),
    ("scale", lambda a: a * np.nan, "scale nan"),
    ("scale", lambda a: -a, "scale -1.0"),
    ("scale", lambda a: a * np.inf, "scale inf"),
    ("scale", lambda a: np.repeat(a, 2), "scale must have shape"),
    ("scale", lambda a: a[:0], "scale must have shape"),
    ("scale", lambda a: a.astype(np.float32), "scale must be"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_damaged_centroids_are_named(name, damage, message):
    spec, _, _, centroids, _, _ = field("f32", "cosine", 32)
    arrays = centroids.arrays()
    arrays[name] = damage(arrays[name])
    with pytest.raises(Corrupted, match=f"lists: {message}" if "centroids" in message[:12] else message):
        Centroids.from_arrays(spec, arrays)
    del arrays[name]
    with pytest.raises(Corrupted, match=name):
        Centroids.from_arrays(spec, arrays)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda a: a.astype(np.int64), "int32 array"),
        (lambda a: a.astype(np.float32), "int32 array"),
        (lambda a: a[:, None], "int32 array"),
        (lambda a: a.tolist(), "int32 array"),
        (lambda a: None, "int32 array"),
        (lambda a: a + 40, "none of the 40 lists"),
        (lambda a: a - 1, "none of the 40 lists"),
        (lambda a: np.where(np.arange(len(a)) == 7, 2**31 - 1, a).astype(np.int32), "none of the 40 lists"),
        (lambda a: np.where(np.arange(len(a)) == 7, -(2**31), a).astype(np.int32), "none of the 40 lists"),
    ],
)
def test_damaged_lists_never_reach_native_code(damage, message, monkeypatch):
    _, x, _, centroids, book, indexes = field("f32", "cosine", 32)
    damaged = damage(indexes["ivf"].lists)

    def reached(*_, **__):
        raise AssertionError("damaged lists were given to faiss")

    monkeypatch.setattr("vicinal.index.lists.ListedFastScan", reached)
    with pytest.raises(Corrupted, match=f"lists: .*{message}"):
        Lists(centroids, damaged, vectors_at(x))
    with pytest.raises(Corrupted, match=f"lists: .*{message}"):
        CodedLists(centroids, damaged, book, book.encode(x))


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:, :-1], lambda c: c.astype(int), lambda c: None])
def test_damaged_codes_are_refused(damage):
    _, x, _, centroids, book, indexes = field("f32", "cosine", 32)
    with pytest.raises(Corrupted, match="lists: codes must"):
        CodedLists(centroids, indexes["ivf"].lists, book, damage(book.encode(x)))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_crafted_arrays_never_crash(data):
    """Bytes changed anywhere: refused, or searched without leaving the rows."""
    spec, x, queries, centroids, book, indexes = field("f32", "l2", 17, 300, 12)
    arrays = centroids.arrays() | {"lists": indexes["ivf"].lists}
    name = data.draw(st.sampled_from(sorted(arrays)))
    raw = bytearray(arrays[name].tobytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    arrays[name] = np.frombuffer(bytes(raw), arrays[name].dtype).reshape(arrays[name].shape)
    try:
        crafted = Centroids.from_arrays(spec, arrays)
        pair = [Lists(crafted, arrays["lists"], vectors_at(x))]
        pair.append(CodedLists(crafted, arrays["lists"], book, book.encode(x)))
    except Corrupted:
        return
    for index in pair:
        for mask in (None, np.arange(300) % 2 == 0):
            positions, _ = index.candidates(queries[0], 20, mask)
            assert len(set(positions.tolist())) == len(positions) == 20
            assert ((positions >= 0) & (positions < 300)).all()
    crafted.assign(x)
