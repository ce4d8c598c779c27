from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.errors import Corrupted, InvalidInput
from vicinal.index import (
    Effort,
    Graph,
    GraphBuilder,
    candidates_of,
    native_graph,
    rerank,
)
from vicinal.index import graph as graph_module
from vicinal.index.links import Links
from vicinal.vectors import VectorSpec

from .definition import clustered, truth_of

KINDS = [("f32", "cosine", 32), ("f32", "l2", 17), ("f32", "dot", 32), ("f16", "l2", 40), ("f16", "cosine", 16)]
KINDS += [("i8", "l2", 32), ("i8", "dot", 24), ("i8", "cosine", 24), ("f32", "l2", 8)]


def recall_of(index, x, queries, spec, effort, mask=None):
    """Share of the 10 nearest among re-ranked candidates; ties of equal distance count."""
    hits, k = [], 10
    for query, (_, due) in zip(queries, truth_of(x, queries, spec, k, mask), strict=True):
        positions, _ = candidates_of(index, query, effort, mask)
        assert len(set(positions.tolist())) == len(positions)
        assert mask is None or mask[positions].all()
        _, found = rerank(query, positions, lambda rows: x[rows], spec, k)
        limit = due[:k][-1]
        hits.append(np.count_nonzero(found <= limit + 1e-5 * abs(limit)) >= np.arange(1, len(due[:k]) + 1))
    return float(np.mean(hits))


@cache
def graph_of(n, dtype, metric, dim, m=16):
    spec = VectorSpec(dim=dim, dtype=dtype, metric=metric)
    x, queries = clustered(n, spec, seed=dim)
    return spec, x, queries, Graph.build(x, spec, M=m, ef_construction=60)


def same(one, two, queries, depth=20, mask=None):
    for query in queries[:10]:
        for a, b in zip(one.candidates(query, depth, mask), two.candidates(query, depth, mask), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS)
def test_recall_by_metric_and_type(dtype, metric, dim):
    spec, x, queries, graph = graph_of(3000, dtype, metric, dim)
    assert len(graph.unreachable()) == 0
    # Seen with these seeds: at least .97 for the walk, and 1.0 where all is compared.
    assert recall_of(graph, x, queries, spec, Effort(depth=40, ef=100)) >= 0.95
    assert recall_of(graph, x, queries, spec, Effort(depth=60, ef=len(x))) >= 0.999


@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS[:3])
@pytest.mark.parametrize("kind", ["half", "tenth", "few", "one", "none", "all", "near", "far"])
def test_masks_cost_no_recall(dtype, metric, dim, kind):
    spec, x, queries, graph = graph_of(3000, dtype, metric, dim)
    rng = np.random.default_rng(5)
    share = {"half": 0.5, "tenth": 0.1, "few": 0.005, "none": 0.0, "all": 1.0}
    near = graph.candidates(queries[0], len(x), ef=len(x))[0]
    mask = rng.random(len(x)) < share.get(kind, 2.0)
    if kind in ("one", "near", "far"):
        mask[:] = False
        mask[{"one": [77], "near": near[:600], "far": near[-600:]}[kind]] = True
    passing = int(mask.sum())
    for depth in (1, 30, 5000):
        positions, values = graph.candidates(queries[0], depth, mask)
        assert len(positions) == len(values) == min(depth, passing)
        assert mask[positions].all()
    if passing:
        assert recall_of(graph, x, queries, spec, Effort(depth=40, ef=100), mask) >= 0.95


@pytest.mark.parametrize("plan", ["walk", "direct"])
def test_both_plans_keep_the_contract(plan, monkeypatch):
    spec, x, queries, graph = graph_of(3000, "f32", "cosine", 32)
    cost = {"walk": "_ROW", "direct": "_LINK"}[plan]
    monkeypatch.setattr(graph_module, cost, 1e9)
    mask = np.random.default_rng(1).random(len(x)) < 0.3
    assert recall_of(graph, x, queries, spec, Effort(depth=40, ef=100), mask) >= 0.97
    for depth in (1, 100, 4000):
        positions, values = graph.candidates(queries[1], depth, mask)
        assert len(set(positions.tolist())) == len(positions) == min(depth, mask.sum())
        assert (np.diff(values) >= 0).all()


def test_candidates_are_sorted_distinct_counted_and_shifted():
    spec, x, queries, graph = graph_of(3000, "f32", "l2", 17)
    shifted = Graph.from_arrays(graph.arrays(), x, spec, first=1000)
    assert (len(graph), graph.M, graph.first, shifted.first) == (3000, 16, 0, 1000)
    for depth in (1, 7, 100, 3000, 9000):
        positions, values = graph.candidates(queries[0], depth)
        assert (positions.dtype, values.dtype) == (np.int64, np.float32)
        assert len(set(positions.tolist())) == len(positions) == min(depth, len(x))
        assert (np.diff(values) >= 0).all()
        assert np.array_equal(shifted.candidates(queries[0], depth)[0], positions + 1000)
    for depth in (0, -1):
        assert len(graph.candidates(queries[0], depth)[0]) == 0


@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS)
def test_values_are_near_the_distances_they_stand_for(dtype, metric, dim):
    _, x, queries, graph = graph_of(3000, dtype, metric, dim)
    positions, values = graph.candidates(queries[3], 50)
    rows, query = x[positions].astype(float), queries[3].astype(float)
    products = rows @ query / np.linalg.norm(query)
    exact = {
        "cosine": -products / np.linalg.norm(rows, axis=1),
        "dot": -products,
        "l2": ((rows - query) ** 2).sum(axis=1),
    }[metric]
    spread = max(np.abs(exact).max(), np.sum(np.var(x.astype(float), axis=0)))
    assert np.abs(values - exact).max() <= 0.02 * spread


@pytest.mark.parametrize(("dtype", "metric", "dim"), KINDS)
def test_arrays_round_trip(dtype, metric, dim):
    spec, x, queries, graph = graph_of(3000, dtype, metric, dim)
    arrays = graph.arrays()
    assert sum(array.nbytes for array in arrays.values()) < 3000 * 4 * 2 * 16
    again = Graph.from_arrays(arrays, x, spec)
    same(graph, again, queries)
    for name, array in again.arrays().items():
        assert np.array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
        array[...] = 0  # copies: the graph does not change
    same(graph, again, queries, mask=np.arange(3000) % 2 == 0)


def test_building_is_deterministic_and_portions_may_differ():
    spec, x, queries, _ = graph_of(3000, "f32", "cosine", 32)
    one, two = (Graph.build(x, spec, M=8, ef_construction=40) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.arrays().values(), two.arrays().values(), strict=True))
    builder = GraphBuilder(x[:500], spec, M=8, ef_construction=40, threads=2)
    for part in (x[:1], x[1:1], x[1:900], x[900:]):
        builder.add(part)
    assert len(builder) == 3000
    graph = builder.finish(first=3)
    assert graph.first == 3
    assert recall_of(builder_shifted(graph, x, spec), x, queries, spec, Effort(depth=40, ef=100)) >= 0.95


def builder_shifted(graph, x, spec):
    return Graph.from_arrays(graph.arrays(), x, spec)


def test_progress_is_told_and_may_stop_the_build():
    spec, x, _, _ = graph_of(3000, "f32", "cosine", 32)
    told = []
    Graph.build(x, spec, M=4, ef_construction=10, progress=told.append)
    assert told == [1024, 2048, 3000]

    def stop(done):
        raise KeyboardInterrupt(done)

    with pytest.raises(KeyboardInterrupt, match="1024"):
        Graph.build(x, spec, M=4, ef_construction=10, progress=stop)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 40])
@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_few_rows(n, metric):
    spec = VectorSpec(dim=9, metric=metric)
    x, queries = clustered(n, spec)
    graph = Graph.build(x, spec, M=2, ef_construction=1)
    again = Graph.from_arrays(graph.arrays(), x, spec)
    assert graph.unreachable().tolist() == []
    for depth in (1, n, n + 3):
        for mask in (None, np.ones(n, bool), np.arange(n) % 2 == 0, np.zeros(n, bool)):
            due = min(depth, n if mask is None else int(mask.sum()))
            positions, _ = graph.candidates(queries[0], depth, mask, ef=1)
            assert len(set(positions.tolist())) == len(positions) == due
    same(graph, again, queries)


def test_duplicates_are_all_reachable():
    rng = np.random.default_rng(0)
    spec = VectorSpec(dim=12, metric="l2")
    x = rng.standard_normal((4000, 12)).astype(np.float32)
    x[1000:3000] = x[0]
    graph = Graph.build(x, spec, M=8, ef_construction=40)
    assert len(graph.unreachable()) == 0
    positions, values = graph.candidates(x[0], 500)
    assert len(set(positions.tolist())) == 500
    assert np.count_nonzero(values < 0.01) >= 490
    mask = np.zeros(4000, bool)
    mask[2999] = True
    assert graph.candidates(x[5], 3, mask)[0].tolist() == [2999]
    equal = np.ones((600, 12), np.float32)
    assert len(Graph.build(equal, spec, M=4, ef_construction=20).unreachable()) == 0


def test_short_rows_by_dot_are_reachable():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((3000, 24)) * np.exp(rng.standard_normal((3000, 1)))).astype(np.float32)
    spec = VectorSpec(dim=24, metric="dot")
    graph = Graph.build(x, spec, M=8, ef_construction=40)
    assert len(graph.unreachable()) == 0
    assert recall_of(graph, x, x[:30] + 0.1, spec, Effort(depth=40, ef=200)) >= 0.95


def test_what_cannot_be_reached_is_reported():
    spec, x, queries, graph = graph_of(3000, "f32", "cosine", 32)
    arrays = graph.arrays()
    keep = arrays["links"] != 1234
    lists = np.repeat(np.arange(len(arrays["counts"])), arrays["counts"])
    arrays["counts"] = np.bincount(lists[keep], minlength=len(arrays["counts"])).astype(np.uint16)
    arrays["links"] = arrays["links"][keep]
    cut = Graph.from_arrays(arrays, x, spec, first=10)
    assert cut.unreachable().tolist() == [1244]
    assert len(cut.candidates(queries[0], 3000)[0]) == 3000
    mask = np.zeros(3000, bool)
    mask[1234] = True
    assert cut.candidates(queries[0], 5, mask)[0].tolist() == [1244]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("size", [1e-41, 1e-20, 1e20, 3e38])
def test_extreme_numbers_are_found(metric, size):
    spec = VectorSpec(dim=16, metric=metric)
    rng = np.random.default_rng(3)
    x = (rng.uniform(-1, 1, (600, 16)) * size).astype(np.float32)
    x[0] = 3.4e38
    graph = Graph.build(x, spec, M=8)
    positions, values = graph.candidates(x[5], 60)
    assert len(set(positions.tolist())) == 60
    assert not np.isnan(values).any()
    assert metric == "dot" or 5 in positions


def test_wild_rows_leave_the_others_apart():
    spec = VectorSpec(dim=16, metric="l2")
    x, queries = clustered(3000, spec)
    x = x.copy()
    x[17] *= 1e4
    graph = Graph.build(x, spec)
    assert recall_of(graph, x, queries, spec, Effort(depth=60, ef=200)) >= 0.95


def test_threads_may_search_at_once():
    _, x, queries, graph = graph_of(3000, "f32", "cosine", 32)
    mask = np.arange(len(x)) % 3 > 0
    alone = [graph.candidates(query, 20, mask)[0].tolist() for query in queries]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: graph.candidates(query, 20, mask)[0].tolist(), list(queries) * 8))
    assert together == alone * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"M": 1}, "M must be a whole number from 2 to 256, got 1"),
        ({"M": 257}, "got 257"),
        ({"M": 16.0}, "M must be a whole number"),
        ({"M": True}, "got True"),
        ({"ef_construction": 0}, "ef_construction must be a whole number from 1 to 4096"),
        ({"threads": 0}, "threads"),
    ],
)
def test_parameters_are_checked(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        Graph.build(np.ones((3, 4), np.float32), VectorSpec(dim=4), **arguments)


@pytest.mark.parametrize(("dtype", "metric"), [("f32", "l1"), ("bit", "hamming")])
def test_other_kinds_are_refused(dtype, metric):
    spec = VectorSpec(dim=16, dtype=dtype, metric=metric)
    with pytest.raises(InvalidInput, match=f"not for {dtype} by {metric}"):
        Graph.build(np.ones((3, spec.width), spec.storage_dtype), spec)


def test_wrong_input_is_refused():
    spec, x, queries, graph = graph_of(3000, "f32", "cosine", 32)
    with pytest.raises(InvalidInput, match=r"query of shape \(32,\), got \(31,\)"):
        graph.candidates(queries[0][:31], 5)
    with pytest.raises(InvalidInput, match="not finite"):
        graph.candidates(queries[0] * np.float32(np.nan), 5)
    with pytest.raises(InvalidInput, match="expected a bool mask"):
        graph.candidates(queries[0], 5, np.ones(2999, bool))
    with pytest.raises(InvalidInput, match="expected a bool mask"):
        graph.candidates(queries[0], 5, np.ones(3000, np.uint8))
    with pytest.raises(InvalidInput, match="ef must be"):
        graph.candidates(queries[0], 5, ef=0)
    for wrong in (x[:, :31], x.astype(np.float64), x[0]):
        with pytest.raises(InvalidInput):
            Graph.build(wrong, spec)
        with pytest.raises(InvalidInput):
            Graph.from_arrays(graph.arrays(), wrong, spec)
    bad = x.copy()
    bad[7, 7] = np.nan
    with pytest.raises(InvalidInput, match="not finite"):
        Graph.build(bad, spec)


def upper(arrays):
    """Place of the first link on level 1."""
    levels = arrays["levels"].astype(int)
    row = int(np.flatnonzero(levels > 1)[0])
    return int(arrays["counts"][: levels[:row].sum() + 1].sum())


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


DAMAGES = [
    ("M", lambda a: a["M"] * 0, "M 0.0 is not from 2 to 256"),
    ("M", lambda a: a["M"] * 1000, "M 16000.0"),
    ("M", lambda a: -a["M"], "M -16.0"),
    ("M", lambda a: a["M"] // 2, ""),
    ("M", lambda a: a["M"].astype(np.int32), "M must be a int64 array"),
    ("M", lambda a: np.repeat(a["M"], 2), "M must have shape"),
    ("M", lambda a: None, "M must be"),
    ("levels", lambda a: a["levels"][:-1], "levels must have shape"),
    ("levels", lambda a: a["levels"].astype(np.int32), "levels must be a uint8"),
    ("levels", lambda a: changed(a["levels"], 5, 0), "levels 0 to"),
    ("levels", lambda a: changed(a["levels"], 5, 200), "do not go with M"),
    ("levels", lambda a: changed(a["levels"], 5, a["levels"][5] + 1), ""),
    ("levels", lambda a: np.ones_like(a["levels"]), ""),
    ("levels", lambda a: changed(a["levels"], int(a["entry"][0]), 1), ""),
    ("levels", lambda a: a["levels"][:, None], "levels must be"),
    ("levels", lambda a: a["levels"].tolist(), "levels must be"),
    ("entry", lambda a: a["entry"] * 0 + 3000, "entry 3000.0 is not from 0 to 2999"),
    ("entry", lambda a: a["entry"] * 0 - 1, "entry -1.0"),
    ("entry", lambda a: a["entry"] * 0 + int(np.argmin(a["levels"])), "not on the top level"),
    ("entry", lambda a: a["entry"][:0], "entry must have shape"),
    ("entry", lambda a: a["entry"].astype(float), "entry must be"),
    ("counts", lambda a: a["counts"][:-1], "counts must have shape"),
    ("counts", lambda a: np.append(a["counts"], a["counts"][:1]), "counts must have shape"),
    ("counts", lambda a: changed(a["counts"], 0, 33), "too long"),
    ("counts", lambda a: changed(a["counts"], 0, 65535), "too long"),
    ("counts", lambda a: changed(a["counts"], 0, a["counts"][0] - 1), "links must have shape"),
    ("counts", lambda a: a["counts"].astype(np.int64), "counts must be a uint16"),
    ("counts", lambda a: np.zeros_like(a["counts"]), "links must have shape"),
    ("links", lambda a: a["links"][:-1], "links must have shape"),
    ("links", lambda a: np.append(a["links"], a["links"][:1]), "links must have shape"),
    ("links", lambda a: changed(a["links"], 9, 3000), "a link leads to none"),
    ("links", lambda a: changed(a["links"], -1, -1), "a link leads to none"),
    ("links", lambda a: changed(a["links"], 9, 2**31 - 1), "a link leads to none"),
    ("links", lambda a: changed(a["links"], 9, -(2**31)), "a link leads to none"),
    ("links", lambda a: a["links"].astype(np.int64), "links must be a int32"),
    ("links", lambda a: changed(a["links"], upper(a), int(np.argmin(a["levels"]))), "not on its level"),
    ("links", lambda a: a["links"].reshape(1, -1), "links must be"),
    ("low", lambda a: a["low"] * np.float32(np.nan), "step of codes"),
    ("low", lambda a: a["low"] * 0 + np.float32(1e30), "step of codes"),
    ("low", lambda a: a["low"][:-1], "low must have shape"),
    ("span", lambda a: -a["span"] - 1, "step of codes"),
    ("span", lambda a: a["span"] * np.float32(np.inf), "step of codes"),
    ("span", lambda a: a["span"].astype(np.float64), "span must be"),
    ("scale", lambda a: a["scale"] * 0, "scale"),
    ("scale", lambda a: a["scale"] * np.nan, "scale nan"),
    ("scale", lambda a: a["scale"].astype(np.float32), "scale must be"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_damaged_arrays_are_named_and_never_reach_native_code(name, damage, message, monkeypatch):
    spec, x, _, graph = graph_of(3000, "f32", "cosine", 32)
    arrays = graph.arrays()
    arrays[name] = damage(arrays)

    def reached(*_):
        raise AssertionError("a damaged graph was given to faiss")

    monkeypatch.setattr(native_graph.SearchedGraph, "__init__", reached)
    with pytest.raises(Corrupted, match=f"graph: .*{message}"):
        Graph.from_arrays(arrays, x, spec)


def test_arrays_of_other_rows_are_refused():
    spec, x, _, graph = graph_of(3000, "f32", "cosine", 32)
    for other in (x[:2999], x[:0], np.concatenate([x, x[:1]])):
        with pytest.raises(Corrupted):
            Graph.from_arrays(graph.arrays(), other, spec)
    for name in graph.arrays():
        arrays = graph.arrays()
        del arrays[name]
        with pytest.raises(Corrupted, match=name):
            Graph.from_arrays(arrays, x, spec)
    with pytest.raises(Corrupted, match="low must have shape"):
        Graph.from_arrays(graph.arrays(), np.ones((3000, 16), np.float32), VectorSpec(dim=16))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_crafted_arrays_never_crash(data):
    """Bytes changed anywhere: refused, or searched without leaving the rows."""
    spec, x, queries, graph = graph_of(300, "f32", "l2", 17, 4)
    arrays = graph.arrays()
    name = data.draw(st.sampled_from(sorted(arrays)))
    raw = bytearray(arrays[name].tobytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    arrays[name] = np.frombuffer(bytes(raw), arrays[name].dtype).reshape(arrays[name].shape)
    try:
        crafted = Graph.from_arrays(arrays, x, spec)
    except Corrupted:
        return
    for mask in (None, np.arange(300) % 2 == 0):
        positions, _ = crafted.candidates(queries[0], 20, mask)
        assert len(set(positions.tolist())) == len(positions) == 20
        assert ((positions >= 0) & (positions < 300)).all()


def test_links_of_many_lists_are_checked_in_portions(monkeypatch):
    _, x, _, graph = graph_of(3000, "f32", "cosine", 32)
    arrays = graph.arrays()
    whole = Links.from_arrays(arrays, len(x))
    parents = whole.parents()
    monkeypatch.setattr("vicinal.index.links._STEP", 7)
    monkeypatch.setattr("vicinal.index.links._STEP_SLOTS", 100)
    parts = Links.from_arrays(arrays, len(x))
    assert np.array_equal(whole.slots, parts.slots)
    assert np.array_equal(parents < 0, parts.parents() < 0)


def test_the_graph_module_does_not_import_faiss():
    program = "import sys, vicinal.index.protocol; assert 'faiss' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
