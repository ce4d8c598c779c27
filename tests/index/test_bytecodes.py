"""L1 with codes of a byte per dimension: the same answers as the definition, whatever the rounding costs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.index import Block, ByteCodes, Levels, code_bytes, search_flat
from vicinal.vectors import VectorSpec

from .definition import SHAPES, check, make


def coded(vectors, spec, size, mask=None):
    """Blocks with codes where their rows can have some."""
    levels = None
    for start in range(0, len(vectors), size):
        part = slice(start, start + size)
        levels = Levels.of(vectors[part], spec, levels)
        codes = None if levels is None else ByteCodes(levels, levels.encode(vectors[part]))
        yield Block(start, vectors[part], None, None if mask is None else mask[part], codes)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_finds_what_the_definition_says(dtype, data):
    draw = data.draw
    spec = VectorSpec(dim=draw(st.sampled_from([1, 7, 16, 33])), dtype=dtype, metric="l1")
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.sampled_from([1024, 1500, 5000]))
    vectors = make(rng, draw(st.sampled_from(SHAPES)), n, spec)
    if draw(st.booleans()):  # another block, which does not look like the first
        vectors = np.concatenate([vectors, make(rng, draw(st.sampled_from(SHAPES)), n, spec)])
    query = make(rng, draw(st.sampled_from(SHAPES)), 1, spec)
    if draw(st.booleans()):
        query = vectors[rng.integers(0, len(vectors), 1)].copy()
    share = draw(st.sampled_from([None, None, 0.0, 0.02, 0.5, 1.0]))
    mask = None if share is None else rng.random(len(vectors)) < share
    k, threads = draw(st.sampled_from([1, 10, 2000])), draw(st.sampled_from([1, 2]))
    blocks = list(coded(vectors, spec, n, mask))
    check(search_flat(blocks, query, spec, k, threads=threads)[0], query[0], vectors, spec, k, mask)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("share", [None, 0.5, 0.02])
def test_many_blocks_in_threads(dtype, share):
    rng = np.random.default_rng(4)
    spec = VectorSpec(dim=64, dtype=dtype, metric="l1")
    vectors = make(rng, "normal", 60_000, spec)
    mask = None if share is None else rng.random(len(vectors)) < share
    for query, k in itertools.product((vectors[5], 100 * vectors[9], make(rng, "normal", 1, spec)[0]), (1, 25)):
        found = search_flat(list(coded(vectors, spec, 7000, mask)), query[None], spec, k, threads=2)
        check(found[0], query, vectors, spec, k, mask)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_stored_error_bounds_the_rounding(data):
    spec = VectorSpec(dim=12, dtype=data.draw(st.sampled_from(["f32", "f16"])), metric="l1")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    vectors = make(rng, data.draw(st.sampled_from(SHAPES)), 1100, spec)
    levels = Levels.of(vectors, spec)
    if levels is None:
        return
    other = make(rng, data.draw(st.sampled_from(SHAPES)), 50, spec)
    codes, upper, errors = levels.encode(other)
    meant = np.longdouble(levels.low) + np.longdouble(levels.step) * codes[:, : spec.dim]
    true = np.abs(meant - other.astype(np.longdouble)).sum(axis=1)
    assert (true <= errors).all()
    known = np.isfinite(errors)
    sums = np.longdouble(levels.step) * codes.sum(axis=1, dtype=np.longdouble) + errors
    assert np.allclose(upper[known], sums[known].astype(float), rtol=1e-6)


def test_rows_encode_alone():
    rng = np.random.default_rng(5)
    spec = VectorSpec(dim=20, dtype="f16", metric="l1")
    vectors = make(rng, "normal", 2000, spec)
    levels = Levels.of(vectors, spec)
    whole = levels.encode(vectors)
    for got, *parts in zip(whole, levels.encode(vectors[:777]), levels.encode(vectors[777:]), strict=True):
        assert np.array_equal(got, np.concatenate(parts))


def test_levels_are_shared_by_blocks_alike_and_not_by_others():
    rng = np.random.default_rng(6)
    spec = VectorSpec(dim=20, metric="l1")
    first = Levels.of(make(rng, "normal", 2000, spec), spec)
    assert Levels.of(make(rng, "normal", 2000, spec), spec, first) is first
    wider = Levels.of(10 * make(rng, "normal", 2000, spec), spec, first)
    assert wider.step > 5 * first.step
    narrower = Levels.of(0.1 * make(rng, "normal", 2000, spec), spec, first)
    assert narrower.step < first.step / 5


def test_where_bytes_are_of_no_use():
    rng = np.random.default_rng(7)
    spec = VectorSpec(dim=20, metric="l1")
    assert Levels.of(make(rng, "normal", 1023, spec), spec) is None  # too few to know their range
    assert Levels.of(np.full((2000, 20), 3, np.float32), spec) is None
    assert Levels.of(make(rng, "tiny", 2000, spec), spec) is None
    offset = 1e9 + make(rng, "normal", 2000, spec)
    assert Levels.of(offset, spec) is None
    assert code_bytes(spec) == 32
    for dtype, metric in (("i8", "l1"), ("f32", "l2"), ("f16", "cosine"), ("bit", "hamming")):
        assert code_bytes(VectorSpec(dim=64, dtype=dtype, metric=metric)) == 0
