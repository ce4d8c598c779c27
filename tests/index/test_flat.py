from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.errors import InvalidInput
from vicinal.index import Block, row_norms, search_flat
from vicinal.vectors import VectorSpec

from .definition import PAIRS, SHAPES, blocks_of, check, make


@pytest.mark.parametrize(("dtype", "metric"), PAIRS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_finds_what_the_definition_says(dtype, metric, data):
    draw = data.draw
    dim = draw(st.sampled_from([8, 16, 64, 104]) if dtype == "bit" else st.sampled_from([1, 2, 7, 16, 33]))
    spec = VectorSpec(dim=dim, dtype=dtype, metric=metric)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.sampled_from([1, 2, 17, 300, 2500]))
    vectors = make(rng, draw(st.sampled_from(SHAPES)), n, spec)
    nq = draw(st.sampled_from([1, 1, 2, 9]))
    k = draw(st.sampled_from([1, 3, 10, 5000]))
    if draw(st.booleans()):
        queries = make(rng, draw(st.sampled_from(SHAPES)), nq, spec)
    else:
        queries = vectors[rng.integers(0, n, nq)].copy()
    share = draw(st.sampled_from([None, None, 0.0, 0.02, 0.5, 1.0]))
    mask = None if share is None else rng.random(n) < share
    size = draw(st.sampled_from([64, 1000, 10_000]))
    before = vectors.copy()
    vectors.flags.writeable = False
    found = search_flat(blocks_of(vectors, spec, size, mask), queries, spec, k)
    assert np.array_equal(vectors, before)
    assert len(found) == nq
    for hits, query in zip(found, queries, strict=True):
        check(hits, query, vectors, spec, k, mask)


@pytest.mark.parametrize(("dtype", "metric"), PAIRS)
@pytest.mark.parametrize("shape", ["normal", "offset", "duplicates"])
def test_threads_and_streaming_change_nothing(dtype, metric, shape):
    spec = VectorSpec(dim=256, dtype=dtype, metric=metric)
    rng = np.random.default_rng(7)
    vectors, queries = make(rng, shape, 9000, spec), make(rng, shape, 3, spec)
    mask = rng.random(9000) < 0.6
    one = search_flat(blocks_of(vectors, spec, 2000, mask), queries, spec, 10)
    buffer = np.empty((2000, spec.width), spec.storage_dtype)

    def reused():
        for block in blocks_of(vectors, spec, 2000, mask):
            buffer[:] = 99
            view = buffer[: len(block.vectors)]
            view[:] = block.vectors
            yield Block(block.first, view, block.norms, block.mask)

    for found in (
        search_flat(blocks_of(vectors, spec, 2000, mask), queries, spec, 10, threads=2),
        search_flat(blocks_of(np.repeat(vectors, 1, 0), spec, 9000, mask), queries, spec, 10),
        search_flat(reused(), queries, spec, 10, streamed=True),
        [
            hits
            for query in queries
            for hits in search_flat(blocks_of(vectors, spec, 2000, mask), query[None], spec, 10, threads=2)
        ],
    ):
        for (a, da), (b, db) in zip(one, found, strict=True):
            assert a.tolist() == b.tolist()
            assert np.array_equal(da, db)
    check(one[0], queries[0], vectors, spec, 10, mask)


@pytest.mark.parametrize("nq", [1, 2])
def test_distances_that_are_no_float32_tie(nq):
    spec = VectorSpec(dim=1, metric="dot")
    vectors, queries = np.float32([[1.25e-13], [-1.3e-29]]), np.float32([[1.05e-42], [-5.4e-42]])[:nq]
    for hits, query in zip(search_flat(blocks_of(vectors, spec, 9), queries, spec, 1), queries, strict=True):
        assert hits[0].tolist() == [0, 1]
        check(hits, query, vectors, spec, 1)


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot", "l1"])
@pytest.mark.parametrize("dtype", ["f16", "i8"])
def test_float_queries_and_large_batches_of_small_types(dtype, metric):
    spec = VectorSpec(dim=48, dtype=dtype, metric=metric)
    rng = np.random.default_rng(3)
    vectors = make(rng, "normal", 3000, spec)
    for nq in (1, 12):
        queries = rng.standard_normal((nq, 48)).astype(np.float32)
        for hits, query in zip(search_flat(blocks_of(vectors, spec, 700), queries, spec, 5), queries, strict=True):
            check(hits, query, vectors, spec, 5)


@pytest.mark.parametrize(("dtype", "metric"), PAIRS)
def test_nothing_to_find(dtype, metric):
    spec = VectorSpec(dim=16, dtype=dtype, metric=metric)
    query = np.ones((1, spec.width), spec.storage_dtype)
    empty = np.empty((0, spec.width), spec.storage_dtype)
    for blocks in ([], [Block(0, empty, row_norms(empty, spec))]):
        ((positions, dist),) = search_flat(blocks, query, spec, 3)
        assert len(positions) == len(dist) == 0
    full = np.ones((4, spec.width), spec.storage_dtype)
    block = Block(0, full, row_norms(full, spec), np.zeros(4, bool))
    assert len(search_flat([block], query, spec, 3)[0][0]) == 0
    assert len(search_flat([block], query, spec, 0)[0][0]) == 0
    assert search_flat([block], query[:0], spec, 3) == []


def test_wrong_query_shape_is_refused():
    with pytest.raises(InvalidInput, match=r"\(n, 4\), got \(1, 3\)"):
        search_flat([], np.ones((1, 3), np.float32), VectorSpec(dim=4), 1)


def test_an_equal_vector_is_at_distance_zero():
    rng = np.random.default_rng(0)
    for metric in ("cosine", "l2", "l1"):
        spec = VectorSpec(dim=100, metric=metric)
        x = rng.standard_normal((500, 100)).astype(np.float32)
        ((positions, dist),) = search_flat(blocks_of(x, spec, 100), x[123:124], spec, 1)
        assert positions.tolist() == [123]
        assert dist.tolist() == [0.0]


def test_exact_search_of_floats_does_not_import_faiss():
    program = """
import sys
import numpy as np
from vicinal.index import Block, row_norms, search_flat
from vicinal.vectors import VectorSpec
x = np.random.default_rng(0).standard_normal((3000, 8)).astype(np.float32)
for metric in ("cosine", "l2", "dot"):
    spec = VectorSpec(dim=8, metric=metric)
    assert search_flat([Block(0, x, row_norms(x, spec))], x[:1], spec, 3)[0][0][0] >= 0
assert "faiss" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_many_loose_candidates_stay_in_bounded_chunks():
    """All rows alike but for the last digits: the float32 bound cannot tell them apart."""
    rng = np.random.default_rng(1)
    for metric in ("cosine", "l2", "dot"):
        spec = VectorSpec(dim=32, metric=metric)
        x = (rng.standard_normal((12_000, 32)) + 1e4).astype(np.float32)
        for queries in (x[:1], x[:3]):
            for hits, query in zip(
                search_flat(blocks_of(x, spec, 5000), queries, spec, 7, threads=2), queries, strict=True
            ):
                check(hits, query, x, spec, 7)


@pytest.mark.parametrize("dtype", ["f16", "i8"])
def test_norms_may_be_appended(dtype):
    rng = np.random.default_rng(2)
    for metric in ("cosine", "dot", "l1") if dtype == "i8" else ("cosine", "dot"):
        spec = VectorSpec(dim=20, dtype=dtype, metric=metric)
        x = make(rng, "normal", 900, spec)
        whole = row_norms(x, spec)
        assert whole.dtype == np.float32
        assert np.array_equal(whole, np.concatenate([row_norms(x[:333], spec), row_norms(x[333:], spec)]))
    assert row_norms(x, VectorSpec(dim=20, dtype=dtype, metric="l2")) is None


@pytest.mark.parametrize(("dtype", "metric"), PAIRS)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
def test_one_query_is_shared_between_threads(dtype, metric, share):
    """More rows than one piece of work, with no mask, a dense one and one whose rows are picked out."""
    spec = VectorSpec(dim=64, dtype=dtype, metric=metric)
    rng = np.random.default_rng(3)
    n = 40_000 if dtype == "f32" else 160_000
    vectors, queries = make(rng, "normal", n, spec), make(rng, "normal", 2, spec)
    mask = None if share == 1.0 else rng.random(n) < share
    for query in queries:
        (found,) = search_flat(blocks_of(vectors, spec, n // 3, mask), query[None], spec, 10, threads=3)
        check(found, query, vectors, spec, 10, mask)
