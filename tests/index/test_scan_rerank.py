from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.errors import InvalidInput
from vicinal.index import Block, Whole, rerank, rerank_all_in, rerank_in, row_norms, search_flat
from vicinal.vectors import VectorSpec, parse_vectors

PAIRS = [(t, m) for t in ("f32", "f16", "i8") for m in ("cosine", "l2", "dot", "l1")] + [("bit", "hamming")]


def make(rng, shape, n, spec):
    if spec.dtype == "bit":
        return np.packbits(rng.random((n, spec.dim)) < 0.5, axis=1)
    x = rng.standard_normal((n, spec.dim))
    largest = {"f32": 3e38, "f16": 6e4, "i8": 127.0}[spec.dtype]
    if shape == "offset":
        x += {"f32": 1e4, "f16": 300.0, "i8": 100.0}[spec.dtype]
    elif shape == "huge":
        x *= largest / np.abs(x).max()
    elif shape == "tiny":
        x *= {"f32": 1e-41, "f16": 1e-6, "i8": 2.0}[spec.dtype]
    elif shape == "duplicates":
        x = x[rng.integers(0, min(n, 4), n)]
    elif shape == "mixed" and spec.dtype == "f32":
        x *= 10.0 ** rng.integers(-30, 30, (n, 1))
    elif shape == "grid":
        x = np.rint(x)
    if spec.dtype == "i8":
        x = np.clip(np.rint(x * (30 if shape == "normal" else 1)), -128, 127)
    x = np.clip(x, -largest, largest).astype(spec.storage_dtype)
    if spec.metric == "cosine":
        x[~x.any(axis=1), 0] = 1
    return parse_vectors(x, spec)


@pytest.mark.parametrize(("dtype", "metric"), PAIRS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_equals_the_exact_search_over_the_candidates(dtype, metric, data):
    draw = data.draw
    spec = VectorSpec(dim=draw(st.sampled_from([8, 40, 256])), dtype=dtype, metric=metric)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from(["normal", "offset", "huge", "tiny", "duplicates", "mixed", "grid"]))
    x = make(rng, shape, 400, spec)
    query = x[7].copy() if draw(st.booleans()) else make(rng, shape, 1, spec)[0]
    positions = rng.permutation(400)[: draw(st.sampled_from([1, 20, 25, 200, 400]))]
    k = draw(st.sampled_from([1, 10, 30, 500]))
    mask = np.zeros(400, bool)
    mask[positions] = True
    ((expected, distances),) = search_flat([Block(0, x, row_norms(x, spec), mask)], query[None], spec, k)
    for norms in (row_norms(x, spec), None):
        for found, exact in (
            rerank(query, positions, lambda rows: x[rows], spec, k),
            rerank_in(query, positions, Whole(x, norms), spec, k),
        ):
            assert found.tolist() == expected.tolist()
            assert found.dtype == np.int64
            assert np.array_equal(exact, distances)


@pytest.mark.parametrize(("dtype", "metric"), PAIRS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_many_queries_are_ranked_as_each_by_itself(dtype, metric, data):
    draw = data.draw
    spec = VectorSpec(dim=16, dtype=dtype, metric=metric)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shapes = st.sampled_from(["normal", "offset", "huge", "tiny", "duplicates", "mixed", "grid"])
    x = make(rng, draw(shapes), 300, spec)
    nq, n, k = draw(st.sampled_from([1, 3, 130])), draw(st.sampled_from([1, 30, 100])), draw(st.sampled_from([1, 10]))
    queries = make(rng, draw(shapes), nq, spec)
    positions = np.array([rng.permutation(300)[:n] for _ in range(nq)])
    found = rerank_all_in(queries, positions, Whole(x, row_norms(x, spec)), spec, k)
    assert len(found) == nq
    for query, own, (places, distances) in zip(queries, positions, found, strict=True):
        mask = np.zeros(300, bool)
        mask[own] = True
        ((expected, exact),) = search_flat([Block(0, x, row_norms(x, spec), mask)], query[None], spec, k)
        assert places.tolist() == expected.tolist()
        assert places.dtype == np.int64
        assert np.array_equal(distances, exact)


def test_nothing_to_rank():
    spec = VectorSpec(dim=16)
    query = np.ones(16, np.float32)
    for positions, k in ((np.empty(0, np.int64), 5), (np.arange(3), 0)):
        found, distances = rerank(query, positions, lambda rows: np.ones((len(rows), 16), np.float32), spec, k)
        assert len(found) == len(distances) == 0
    with pytest.raises(InvalidInput, match="expected 3 vectors of width 16"):
        rerank(query, np.arange(3), lambda rows: np.ones((2, 16), np.float32), spec, 1)
