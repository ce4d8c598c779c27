from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.errors import Corrupted, InvalidInput
from vicinal.index import Codebook, CodeSegment, scannable
from vicinal.vectors import VectorSpec, parse_vectors

DIMS = (17, 32, 100, 257)


def vectors_of(rng, n, spec, spread=1.0):
    x = rng.standard_normal((n, spec.dim)) * spread
    if spec.dtype == "i8":
        x = np.clip(np.rint(x * 30), -128, 127)
        x[~x.any(axis=1), 0] = 1
    return parse_vectors(x.astype(spec.storage_dtype), spec)


@pytest.fixture(scope="module")
def trained():
    spec = VectorSpec(dim=32, metric="l2")
    rng = np.random.default_rng(0)
    return Codebook.train(vectors_of(rng, 1000, spec), spec)


@pytest.mark.parametrize(
    ("dim", "dtype", "metric", "expected"),
    [
        (16, "f32", "cosine", True),
        (257, "f16", "l2", True),
        (100, "i8", "dot", True),
        (15, "f32", "cosine", False),
        (64, "f32", "l1", False),
        (64, "bit", "hamming", False),
    ],
)
def test_what_can_be_scanned(dim, dtype, metric, expected):
    spec = VectorSpec(dim=dim, dtype=dtype, metric=metric)
    assert scannable(spec) is expected
    if not expected:
        with pytest.raises(InvalidInput, match="are not coded"):
            Codebook.train(np.zeros((300, spec.width), spec.storage_dtype), spec)
        with pytest.raises(InvalidInput, match="are not coded"):
            Codebook.from_arrays(spec, {})


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("dtype", "metric"), [("f32", "cosine"), ("f16", "l2"), ("i8", "dot"), ("i8", "cosine")])
def test_codes_do_not_depend_on_the_company(dim, dtype, metric):
    spec = VectorSpec(dim=dim, dtype=dtype, metric=metric)
    rng = np.random.default_rng(dim)
    x = vectors_of(rng, 700, spec)
    for bits in (1, 2):
        book = Codebook.train(x, spec, bits)
        assert book.m % 2 == 0
        assert len(book.order) >= dim
        codes = book.encode(x)
        assert codes.shape == (700, book.code_bytes)
        assert codes.dtype == np.uint8
        assert np.array_equal(codes, book.encode(x, threads=3))
        assert np.array_equal(codes[100:133], book.encode(x[100:133]))
        assert book.encode(x[:0]).shape == (0, book.code_bytes)


def test_training_is_deterministic_and_round_trips():
    spec = VectorSpec(dim=50)
    x = vectors_of(np.random.default_rng(1), 3000, spec)
    one, two, other = (Codebook.train(x, spec, 2, seed=seed) for seed in (4, 4, 5))
    assert np.array_equal(one.centroids, two.centroids)
    assert np.array_equal(one.order, two.order)
    assert not np.array_equal(one.centroids, other.centroids)
    again = Codebook.from_arrays(spec, one.arrays())
    assert np.array_equal(one.encode(x), again.encode(x))
    assert np.array_equal(one.terms(x[:3]), again.terms(x[:3]))
    assert (again.m, again.l2, again.scale) == (one.m, one.l2, one.scale)


def test_variance_is_dealt_only_where_it_helps():
    rng = np.random.default_rng(2)
    skewed = (rng.standard_normal((4000, 64)) * np.exp(-np.arange(64) / 8)).astype(np.float32)
    spec = VectorSpec(dim=64, metric="l2")
    assert not np.array_equal(Codebook.train(skewed, spec).order, np.arange(64))
    neighbours = np.repeat(rng.standard_normal((4000, 16)), 4, axis=1) * np.linspace(1, 2, 64)
    assert np.array_equal(Codebook.train(neighbours.astype(np.float32), spec).order, np.arange(64))


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("size", [1e-41, 1e-20, 1e20, 3e38])
def test_extreme_numbers_are_coded(metric, size):
    spec = VectorSpec(dim=16, metric=metric)
    rng = np.random.default_rng(3)
    x = (rng.uniform(-1, 1, (600, 16)) * size).astype(np.float32)
    x[0] = 3.4e38
    book = Codebook.train(x, spec, 2)
    codes = book.encode(x)
    positions, _ = CodeSegment(book, codes).candidates(x[5], 60)
    assert len(set(positions.tolist())) == 60
    assert 5 in positions


def test_constant_and_zero_fields_are_coded():
    for metric in ("l2", "dot"):
        for value in (0.0, 7.0):
            spec = VectorSpec(dim=20, metric=metric)
            x = np.full((300, 20), value, np.float32)
            book = Codebook.train(x, spec)
            positions, distances = CodeSegment(book, book.encode(x)).candidates(x[0], 40)
            assert len(set(positions.tolist())) == 40
            assert (np.diff(distances[np.isfinite(distances)]) >= 0).all()


def test_wrong_input_is_refused(trained):
    spec = trained.spec
    good = np.zeros((300, 32), np.float32)
    with pytest.raises(InvalidInput, match="at least 256 vectors, got 255"):
        Codebook.train(good[:255], spec)
    with pytest.raises(InvalidInput, match="bits must be 1 or 2, got 3"):
        Codebook.train(good, spec, 3)
    with pytest.raises(InvalidInput, match=r"shape \(n, 32\) and type float32, got \(300, 31\)"):
        Codebook.train(good[:, :31], spec)
    with pytest.raises(InvalidInput, match="float64"):
        trained.encode(good.astype(np.float64))
    bad = good.copy()
    for value in (np.nan, np.inf):
        bad[7, 3] = value
        if np.isnan(value):
            with pytest.raises(InvalidInput, match="not finite"):
                trained.encode(bad)
            with pytest.raises(InvalidInput, match="not finite"):
                Codebook.train(bad, spec)
        with pytest.raises(InvalidInput, match="not finite"):
            trained.terms(bad[7:8])
    with pytest.raises(InvalidInput, match=r"queries of shape \(n, 32\), got \(1, 33\)"):
        trained.terms(np.zeros((1, 33), np.float32))


DAMAGES = [
    ("order", lambda a: a[:-1], "order is not a permutation"),
    ("order", np.zeros_like, "order is not a permutation"),
    ("order", lambda a: a + 1, "order is not a permutation"),
    ("order", lambda a: a.astype(np.int64), "order must be a int32 array"),
    ("centroids", lambda a: a.astype(np.float64), "centroids must be a float32 array"),
    ("centroids", lambda a: a[:-1], "centroids have shape"),
    ("centroids", lambda a: a[:, :15], "centroids have shape"),
    ("centroids", lambda a: a.reshape(-1, 16), "centroids must be"),
    ("centroids", lambda a: a * np.float32(np.nan), "not a number in range"),
    ("centroids", lambda a: np.full_like(a, 1e30), "not a number in range"),
    ("centroids", lambda a: a[:0], "centroids have shape"),
    ("scale", lambda a: a * 0, "scale"),
    ("scale", lambda a: a * np.nan, "scale"),
    ("scale", lambda a: -a, "scale"),
    ("scale", lambda a: np.repeat(a, 2), "scale"),
    ("scale", lambda a: a.tolist(), "scale must be"),
    ("scale", lambda a: None, "scale must be"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_damaged_arrays_are_named(trained, name, damage, message):
    arrays = trained.arrays()
    arrays[name] = damage(arrays[name])
    with pytest.raises(Corrupted, match=f"codebook: .*{message}" if "must" not in message else message):
        Codebook.from_arrays(trained.spec, arrays)


def test_arrays_of_another_field_are_refused(trained):
    with pytest.raises(Corrupted, match="not that of 64 dimensions"):
        Codebook.from_arrays(VectorSpec(dim=64), trained.arrays())
    for name in trained.arrays():
        arrays = trained.arrays()
        del arrays[name]
        with pytest.raises(Corrupted, match=name):
            Codebook.from_arrays(trained.spec, arrays)


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_crafted_arrays_never_crash(trained, data):
    """Bits flipped anywhere: refused, or searched without leaving the rows."""
    arrays = trained.arrays()
    name = data.draw(st.sampled_from(sorted(arrays)))
    raw = bytearray(arrays[name].tobytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    arrays[name] = np.frombuffer(bytes(raw), arrays[name].dtype).reshape(arrays[name].shape)
    rng = np.random.default_rng(9)
    codes = rng.integers(0, 256, (data.draw(st.sampled_from([1, 31, 33, 500])), trained.code_bytes), np.uint8)
    try:
        book = Codebook.from_arrays(trained.spec, arrays)
    except Corrupted:
        return
    segment = CodeSegment(book, codes)
    query = vectors_of(rng, 1, trained.spec)[0]
    for mask in (None, rng.random(len(codes)) < 0.5):
        positions, _ = segment.candidates(query, 20, mask)
        passing = len(codes) if mask is None else int(mask.sum())
        assert len(set(positions.tolist())) == len(positions) == min(20, passing)
        assert ((positions >= 0) & (positions < len(codes))).all()
    book.encode(vectors_of(rng, 40, trained.spec))


def test_importing_the_index_does_not_import_faiss():
    program = "import sys, vicinal.index; assert 'faiss' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
