from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vicinal.errors import InvalidInput, InvalidVector
from vicinal.vectors import VectorSpec, parse_vector, parse_vectors

F32 = VectorSpec(dim=3)
L2 = VectorSpec(dim=3, metric="l2")
F16 = VectorSpec(dim=3, dtype="f16")
I8 = VectorSpec(dim=3, dtype="i8")
BIT = VectorSpec(dim=16, dtype="bit")
ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
NAN, INF = float("nan"), float("inf")


class Tensor:
    """Something that only knows how to become an array."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("cannot leave the device")


def objects(rows):
    out = np.empty(len(rows), object)
    out[:] = [list(row) for row in rows]
    return out


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        ROWS.astype("f8"),
        ROWS.astype(">f4"),
        ROWS.astype(">i8"),
        ROWS.astype("u1"),
        ROWS.astype("f2"),
        ROWS.astype(np.longdouble),
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=1)[:, ::2],
        ROWS[::-1][::-1],
        ROWS.tolist(),
        tuple(map(tuple, ROWS.tolist())),
        list(ROWS),
        [ROWS[0], ROWS[1].tolist()],
        "[[1, 2, 3], [4.0, 5e0, 6]]",
        ROWS.tobytes(),
        bytearray(ROWS.tobytes()),
        memoryview(ROWS.tobytes()),
        memoryview(ROWS),
        [ROWS[0].tobytes(), ROWS[1].tobytes()],
        Tensor(ROWS),
        [Tensor(ROWS[0]), Tensor(ROWS[1])],
        objects(ROWS),
        ROWS.astype(object),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_form_of_the_same_rows(value):
    out = parse_vectors(value, F32)
    assert out.dtype == np.float32
    assert out.dtype.isnative
    assert out.flags.c_contiguous
    assert out.tolist() == ROWS.tolist()


def test_one_vector():
    for value in ([1, 2, 3], ROWS[0], ROWS[:1], "[1,2,3]", ROWS[0].tobytes(), memoryview(ROWS[0])):
        assert parse_vectors(value, F32).tolist() == [[1, 2, 3]]
        assert parse_vector(value, F32).tolist() == [1, 2, 3]
    for value in (ROWS, [], np.empty((0, 3))):
        with pytest.raises(InvalidVector, match="expected one vector, got"):
            parse_vector(value, F32)


@pytest.mark.parametrize("spec", [F32, L2, F16, I8, BIT])
def test_no_rows(spec):
    for value in ([], "[]", np.empty((0, spec.dim), spec.storage_dtype if spec is not BIT else bool)):
        assert parse_vectors(value, spec).shape == (0, spec.width)


@pytest.mark.parametrize(
    ("value", "spec", "parts"),
    [
        ([[1, 2, 3], [4, NAN, 6]], F32, ["row 1, column 1: nan", "not a finite"]),
        ([[1, 2, INF]], L2, ["row 0, column 2: inf"]),
        ([[1, -INF, 0]], F16, ["row 0, column 1: -inf"]),
        ("[[1, NaN, 3]]", F32, ["row 0, column 1: nan"]),
        ("[1, 2, -Infinity]", F32, ["row 0, column 2: -inf"]),
        (np.array([[1, NAN, 2]], "f2"), F16, ["row 0, column 1: nan"]),
        ([[1, 2, 1e39]], F32, ["row 0, column 2: 1e+39", "too large for f32"]),
        ([[1, 2, 3], [70000, 1, 1]], F16, ["row 1, column 0: 70000", "too large for f16"]),
        ([[1, 2, 3], [0, 0, 0]], F32, ["row 1: a zero vector", "cosine"]),
        ([[0.0, -0.0, 0]], F16, ["row 0: a zero vector"]),
        ([[1e-300, 0, 0]], F32, ["row 0: a zero vector"]),
        ([[1e-12, 0, 0]], F16, ["row 0: a zero vector"]),
        ([[0, 0, 0]], I8, ["row 0: a zero vector"]),
        ([1, 2], F32, ["expected 3, got 2"]),
        ([[1, 2, 3, 4]], F32, ["expected 3, got 4"]),
        (np.ones((2, 255), "f4"), VectorSpec(dim=256), ["expected 256, got 255"]),
        (np.ones((2, 2, 3)), F32, ["shape (2, 2, 3)"]),
        (np.float32(1), F32, ["shape ()"]),
        ([[1, 2, 3], [1, 2]], F32, ["row 1", "expected 3 dimensions, got 2"]),
        ([[1, 2, 3], 4], F32, ["row 1", "got 4"]),
        ([[1, 2, 3], None], F32, ["row 1", "None"]),
        ([[1, 2, None]], F32, ["row 0, column 2: None"]),
        ([[1, 2, "x"]], F32, ["row 0, column 2: 'x'"]),
        ([["a", "b", "c"]], F32, ["row 0, column 0: 'a'"]),
        ([[True, False, True]], F32, ["True", "bool"]),
        (np.array([[1, True, 2]], object), F32, ["row 0, column 1: True"]),
        ([[1, 2, 10**400]], F32, ["row 0, column 2", "too large"]),
        (np.ones((1, 3), complex), F32, ["complex128"]),
        (np.ones((1, 3), "M8[s]"), F32, ["datetime64"]),
        ("[1, 2", F32, ["not a JSON array: '[1, 2'"]),
        ("1", F32, ["not a JSON array: '1'"]),
        ("", F32, ["not a JSON array: ''"]),
        ("[" * 100_000, F32, ["not a JSON array"]),
        (b"123", F32, ["expected 12 per vector", "got 3"]),
        (b"", F32, ["got 0"]),
        ([b"123456789012", b"1"], F32, ["row 1: ", "got 1"]),
        (None, F32, ["not a vector: None"]),
        (3.5, F32, ["not a vector: 3.5"]),
        ({"a": 1}, F32, ["not a vector"]),
        (Broken(), F32, ["not a vector", "cannot leave the device"]),
        ([[1, 2, 128]], I8, ["row 0, column 2: 128", "-128..127"]),
        ([[1, 2, 3], [-129, 0, 0]], I8, ["row 1, column 0: -129"]),
        (np.array([[2**63, 1, 1]], "u8"), I8, ["row 0, column 0: 9223372036854775808"]),
        ([[1.0, 2, 3]], I8, ['quantize="unit"']),
        ([[1.0] * 16], BIT, ["vectors > 0"]),
        ([[0, 1] * 7 + [2, 0]], BIT, ["row 0, column 14: 2", "neither 0 nor 1"]),
        ([[0, 1, 1]], BIT, ["expected 16 (or 2 packed uint8), got 3"]),
    ],
)  # fmt: skip
def test_refusals_name_what_is_wrong(value, spec, parts):
    with pytest.raises(InvalidVector) as caught:
        parse_vectors(value, spec)
    for part in parts:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ([[0.5, 1.01, 0]], ["row 0, column 1: 1.01", "[-1, 1]"]),
        ([[0.5, NAN, 0]], ["row 0, column 1: nan"]),
        ([[1, 0, 1]], ["got integers"]),
    ],
)
def test_quantize_refusals(value, parts):
    with pytest.raises(InvalidVector) as caught:
        parse_vectors(value, I8, quantize="unit")
    for part in parts:
        assert part in str(caught.value)


def test_quantize_unit():
    out = parse_vectors([[1.0, -1.0, 0.5]], I8, quantize="unit")
    assert out.tolist() == [[127, -127, 64]]
    assert parse_vectors([], I8, quantize="unit").shape == (0, 3)
    with pytest.raises(InvalidInput, match="'half'"):
        parse_vectors([[1.0, 0, 0]], I8, quantize="half")
    with pytest.raises(InvalidInput, match="is for i8 vectors; this field holds f32"):
        parse_vectors([[1.0, 0, 0]], F32, quantize="unit")


def test_bits_in_every_form():
    bits = np.array([[1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1]])
    packed = [[0x80, 0xC1]]
    for value in (bits, bits.astype(bool), bits.astype("u1"), bits.tolist(), np.uint8(packed), b"\x80\xc1"):
        out = parse_vectors(value, BIT)
        assert out.dtype == np.uint8
        assert out.tolist() == packed


def test_the_zero_vector_is_fine_elsewhere():
    for metric in ("l2", "dot", "l1"):
        for dtype in ("f32", "f16", "i8"):
            spec = VectorSpec(dim=3, dtype=dtype, metric=metric)
            assert parse_vectors([[0, 0, 0]], spec).tolist() == [[0, 0, 0]]


def test_denormals_and_large_values_are_kept():
    value = np.array([[1e-45, 0, 0], [3e38, 3e38, 3e38]], np.float32)
    assert np.array_equal(parse_vectors(value, F32), value)
    half = np.array([[6e-8, 0, 0], [65504, 65504, 1]], np.float16)
    assert np.array_equal(parse_vectors(half, F16), half)


def test_nothing_is_copied_without_need_and_nothing_is_written():
    assert np.shares_memory(parse_vectors(ROWS, F32), ROWS)
    frozen = ROWS.astype("f8")
    frozen.flags.writeable = False
    before = frozen.copy()
    for spec in (F32, L2, F16):
        parse_vectors(frozen, spec)
    parse_vectors(frozen / 6, I8, quantize="unit")
    assert np.array_equal(frozen, before)


@given(
    hnp.arrays(
        st.sampled_from([np.dtype("f8"), np.dtype(">f4"), np.dtype("f2"), np.dtype("i8"), np.dtype("u2")]),
        st.tuples(st.integers(0, 4), st.just(3)),
    )
)
def test_accepted_or_refused_never_changed(array):
    before = array.copy()
    try:
        out = parse_vectors(array, L2)
    except InvalidVector:
        with np.errstate(over="ignore"):
            assert not np.isfinite(array.astype(np.float32)).all()
    else:
        assert np.isfinite(out).all()
        assert np.array_equal(out, array.astype(np.float32))
    assert np.array_equal(array, before, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)))
def test_json_and_bytes_agree_with_lists(rows):
    expected = parse_vectors(rows, L2)
    assert np.array_equal(parse_vectors(json.dumps(rows), L2), expected)
    if rows:
        assert np.array_equal(parse_vectors(expected.astype("<f4").tobytes(), L2), expected)
