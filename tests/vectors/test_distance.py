from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.vectors import VectorSpec, distances, pair_distances, rounded_keys, scores, smallest_with_ties

RNG = np.random.default_rng(5)


def test_by_hand():
    x, q = np.float32([[3, 4], [0, -2]]), np.float32([1, 0])
    expected = {"cosine": [0.4, 1.0], "l2": [np.sqrt(20), np.sqrt(5)], "dot": [-3, 0], "l1": [6, 3]}
    for metric, values in expected.items():
        out = distances(q, x, VectorSpec(dim=2, metric=metric))
        assert out.dtype == np.float64
        assert out == pytest.approx(values, abs=1e-15)
    bits = VectorSpec(dim=16, dtype="bit")
    assert distances(np.uint8([255, 1]), np.uint8([[0, 1], [255, 0]]), bits).tolist() == [8, 1]


@pytest.mark.parametrize("dtype", ["f32", "f16", "i8"])
@pytest.mark.parametrize("metric", ["cosine", "l2", "dot", "l1"])
def test_float32_rounding_with_a_large_common_offset(dtype, metric):
    spec = VectorSpec(dim=64, dtype=dtype, metric=metric)
    offset = {"f32": 1e4, "f16": 300.0, "i8": 100.0}[dtype]
    x = (RNG.standard_normal((200, 64)) + offset).astype(spec.storage_dtype)
    wide, q = x.astype(np.longdouble), x[0].astype(np.longdouble)
    truth = {
        "cosine": 1 - wide @ q / np.sqrt((wide * wide).sum(1) * (q * q).sum()),
        "l2": np.sqrt(((wide - q) ** 2).sum(1)),
        "dot": -(wide @ q),
        "l1": np.abs(wide - q).sum(1),
    }[metric]
    out = distances(x[0], x, spec)
    assert np.all(np.abs(out - truth) <= 2.0**-25 * np.abs(truth) + 1e-18)
    if metric != "dot":
        assert out[0] == 0.0


def test_extreme_magnitudes():
    x = np.float32([[3e38, 3e38], [1e-45, 0], [-3e38, -3e38]])
    assert distances(x[0], x, VectorSpec(dim=2)) == pytest.approx([0, 1 - 0.5**0.5, 2])
    assert distances(x[0], x[2:], VectorSpec(dim=2, metric="l2"))[0] == pytest.approx(8.485e38, rel=1e-3)
    assert distances(x[0], x[:1], VectorSpec(dim=2, metric="dot"))[0] == pytest.approx(-1.8e77)


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot", "l1", "hamming"])
def test_pairs_and_chunks_agree_with_single_queries(metric):
    spec = VectorSpec(dim=2000, metric=metric, dtype="bit" if metric == "hamming" else "f32")
    x = RNG.standard_normal((200, 2000)).astype(np.float32)
    x[7] = 0
    if metric == "hamming":
        x = np.packbits(x > 0, axis=1)
    q, which = x[:20] if metric == "hamming" else np.concatenate([-x[:19], x[7:8]]), RNG.integers(0, 20, 200)
    single = np.array([distances(q[query], row[None], spec)[0] for query, row in zip(which, x, strict=True)])
    assert np.array_equal(pair_distances(q, which, x, spec), single)
    assert np.array_equal(distances(q[0], x, spec), pair_distances(q, np.zeros(200, np.int64), x, spec))
    assert len(distances(x[0], x[:0], spec)) == len(pair_distances(q, which[:0], x[:0], spec)) == 0


def test_scores():
    d = np.array([0.0, 0.25, 2.0])
    assert scores(d, "cosine").tolist() == [1, 0.75, -1]
    for metric in ("l2", "l1", "hamming", "dot"):
        assert scores(d, metric).tolist() == [0, -0.25, -2]
    assert not np.signbit(scores(d, "l2")[0])


@given(st.lists(st.integers(0, 5)), st.integers(0, 8))
def test_smallest_with_ties(values, k):
    keys = np.array(values, float)
    expected = sorted(range(len(values)), key=lambda i: (values[i], i))
    if k == 0:
        expected = []
    elif len(values) > k:
        expected = [i for i in expected if values[i] <= sorted(values)[k - 1]]
    assert smallest_with_ties(keys, k).tolist() == expected


def test_rounded_keys():
    keys = rounded_keys(np.array([1.0, 1.0 + 1e-9, 1e39, 2e39, -1e39]))
    assert keys[0] == keys[1]
    assert keys[2:].tolist() == [1e39, 2e39, -1e39]
