"""Batches whose products native threads compute: the same rows and distances as the definition gives."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.index import batches, flat, native, search_flat
from vicinal.index.candidates import Candidates
from vicinal.vectors import VectorSpec, parse_vectors

from .definition import blocks_of, check, make

TYPES = [("f32", "cosine"), ("f32", "dot"), ("f16", "dot"), ("i8", "dot"), ("f16", "cosine")]


@pytest.fixture(autouse=True, scope="module")
def _even_small_ones():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat, "_THREAD_BYTES", 1)
        patch.setattr(batches, "_LEAST_WORK", 1)
        patch.setattr(batches, "_FEWEST_QUERIES", 2)
        patch.setattr(batches, "_PIECE_ROWS", 400)
        patch.setattr(batches, "_COPIED_ELEMENTS", 1)
        yield


@pytest.fixture
def used(monkeypatch):
    """Count the calls of the native choice, which proves that it is what was tested."""
    calls, real = [], native.largest_products

    def counted(queries, rows, k):
        calls.append(len(rows))
        return real(queries, rows, k)

    monkeypatch.setattr(native, "largest_products", counted)
    return calls


def units(rng, n, spec, shape):
    """Vectors of length one where the type can hold them, alike ones among them."""
    x = rng.standard_normal((n, spec.dim))
    if shape == "alike":
        x = x[rng.integers(0, min(n, 3), n)]
    elif shape == "near":  # within float32's rounding of each other
        x = x[:1] + 1e-7 * x
    if spec.dtype == "i8":
        return np.clip(np.rint(x * 40), -128, 127).astype(np.int8)
    x /= np.sqrt((x * x).sum(axis=1, keepdims=True))
    return parse_vectors(x.astype(spec.storage_dtype), spec)


@pytest.mark.parametrize(("dtype", "metric"), TYPES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_finds_what_the_definition_says(dtype, metric, data):
    draw = data.draw
    spec = VectorSpec(dim=draw(st.sampled_from([2, 7, 33])), dtype=dtype, metric=metric)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.sampled_from([1, 17, 300, 2500]))
    vectors = units(rng, n, spec, draw(st.sampled_from(["normal", "alike", "near"])))
    queries = make(rng, "normal", draw(st.sampled_from([2, 9, 40])), spec)
    if draw(st.booleans()):
        queries = vectors[rng.integers(0, n, len(queries))].copy()
    share = draw(st.sampled_from([None, None, 0.0, 0.02, 0.5, 1.0]))
    mask = None if share is None else rng.random(n) < share
    k = draw(st.sampled_from([1, 3, 10, 100, 5000]))
    found = search_flat(blocks_of(vectors, spec, 1000, mask), queries, spec, k, threads=2)
    assert len(found) == len(queries)
    for hits, query in zip(found, queries, strict=True):
        check(hits, query, vectors, spec, k, mask)


@pytest.mark.parametrize("shape", ["normal", "alike"])
def test_queries_that_are_not_proven_are_searched_again(used, shape):
    spec = VectorSpec(dim=16, metric="cosine")
    rng = np.random.default_rng(1)
    vectors, queries = units(rng, 3000, spec, shape), units(rng, 20, spec, "normal")
    blocks = list(blocks_of(vectors, spec, 1000))
    kernel = batches.kernel_for(blocks, queries, spec, 5, 2)
    candidates = Candidates(queries, spec, 5, lambda positions: vectors[positions])
    _, unproven = batches.search(kernel, blocks, candidates, 2)
    assert (len(unproven) == 20) == (shape == "alike")
    assert sum(used) == 3000
    for hits, query in zip(search_flat(blocks, queries, spec, 5, threads=2), queries, strict=True):
        check(hits, query, vectors, spec, 5)


@pytest.mark.parametrize(
    ("metric", "factor"), [("cosine", 1.5), ("dot", 2e38), ("l2", 1.0)], ids=["other lengths", "overflow", "l2"]
)
def test_what_products_alone_do_not_order_is_left_to_others(used, metric, factor):
    spec = VectorSpec(dim=16, metric=metric)
    rng = np.random.default_rng(2)
    vectors = units(rng, 2000, spec, "normal")
    vectors[1234] *= np.float32(factor)
    queries = units(rng, 20, spec, "normal") * np.float32(factor)
    for hits, query in zip(
        search_flat(blocks_of(vectors, spec, 700), queries, spec, 5, threads=2), queries, strict=True
    ):
        check(hits, query, vectors, spec, 5)
    assert used == []


def test_the_setting_of_the_native_library_is_put_back(used):
    spec = VectorSpec(dim=16, metric="dot")
    rng = np.random.default_rng(3)
    vectors, queries = units(rng, 2000, spec, "normal"), units(rng, 20, spec, "normal")
    before = faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    search_flat(blocks_of(vectors, spec, 700), queries, spec, 5, threads=2)
    assert used
    assert (faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()) == before
