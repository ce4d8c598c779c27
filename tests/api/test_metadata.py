"""Metadata: what is allowed comes back exactly, all else is refused with its path."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vicinal
from vicinal.errors import InvalidMetadata
from vicinal.filters import ast
from vicinal.values import decode_metadata, encode_metadata, encode_rows

SUMMER = timezone(timedelta(hours=5, minutes=45))
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
EXACT = [
    *(None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1),
    *(0.5, -0.0, 1.0, 5e-324, 1.7976931348623157e308, -1e-300, 0.1 + 0.2, 2.0**63),
    *("", "text", "é", "e\u0301", "😀", "\x00", "\n\t\x1f\x7f"),
    *('"', "\\", "\\u0041", "$date", '{"$date":1}', "x" * 100_000),
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    [],
    [1, "a", None, 2.5, [True, {"deep": [datetime(1970, 1, 1, tzinfo=UTC)]}]],
    {"x": {"y": {"z": [1]}}},
]
KEYS = [
    *("a.b", 'a"b', "a\\b", "a'b", "a$", " ", "\x00", "\x01", "\n", "\x7f"),
    *("é", "😀", "[0]", "#", "\\u0041", "A", "a b"),
    *("id", "vector", "document", "metadata", "null", "and", "x" * 5000, '"', '"."', "a--", "*"),
]


class Colour(IntEnum):
    RED = 7


@pytest.mark.parametrize("value", EXACT, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("place", [lambda v: {"k": v}, lambda v: {"k": [v]}, lambda v: {"k": {"m": v}}], ids="v[{")
def test_a_value_comes_back_exactly(docs, value, place) -> None:
    docs.add(ids=["a", "b"], vectors=[[0, 0], [1, 1]], metadata=[place(value), {}])
    found = docs["a"].metadata
    assert repr(found) == repr(place(value))  # tells -0.0 from 0.0, 1 from True and 1.0, one zone from another
    docs.update(ids=["a"], metadata=[{"other": 1}])
    docs.update(where="other = 1", metadata={"more": 2})
    assert repr(docs.get().metadata[0]) == repr({**place(value), "other": 1, "more": 2})


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.int8(5), 5),
        (np.uint64(2**63 - 1), 2**63 - 1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(-0.0), -0.0),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array([1, 2]), [1, 2]),
        (np.array([[1.5], [2.5]]), [[1.5], [2.5]]),
        (np.array(3), 3),
        ((1, (2,)), [1, [2]]),
        (Colour.RED, 7),
        (datetime(2024, 1, 1, 5, 45, tzinfo=SUMMER), datetime(2024, 1, 1, tzinfo=UTC)),
    ],
    ids=repr,
)
def test_what_stands_for_a_value_is_stored_as_that_value(docs, given, stored) -> None:
    docs.add(ids=["a"], vectors=[[0, 0]], metadata=[{"k": given}])
    found = docs["a"].metadata["k"]
    assert (type(found), repr(found)) == (type(stored), repr(stored))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"x", r"metadata\[1\].k: bytes b'x' cannot be metadata"),
        (bytearray(b"x"), "bytearray"),
        (Decimal("1.5"), "Decimal"),
        (Fraction(1, 2), "Fraction"),
        (1j, "complex"),
        ({1, 2}, "set"),
        pytest.param(object(), "object", id="object"),
        (timedelta(1), "timedelta"),
        (date(2024, 1, 1), "date"),
        (math.nan, "nan is not a finite number"),
        (math.inf, "inf is not a finite number"),
        (np.float32("nan"), "nan is not a finite number"),
        (np.datetime64("2024-01-01", "ns"), "datetime64"),
        (np.timedelta64(1, "ns"), "timedelta64"),
        (np.array(["2024"], "M8[ns]"), "ndarray"),
        (2**63, "9223372036854775808 does not fit into 64 bits"),
        (-(2**63) - 1, "64 bits"),
        (NOON.replace(tzinfo=None), "2024-01-01 12:00:00 has no time zone; make it aware"),
        (datetime(1, 1, 1, tzinfo=SUMMER), "years 1 to 9999"),
        ("\ud800", "lone surrogate"),
        ({"": 1}, "non-empty text"),
        ({"$gt": 1}, r"k: the key '\$gt' begins with '\$'"),
        ({1: 2}, "key is non-empty text, not 1"),
        ([1, {"x": [b"y"]}], r"metadata\[1\].k\[1\].x\[0\]: bytes"),
        ("x" * (16 * 1024 * 1024), "limit is 16,777,216"),
    ],
    ids=lambda value: repr(value)[:25],
)
def test_everything_else_is_refused_by_name(three, value, says) -> None:
    before = three.info(), three.get().to_dicts()
    for verb, ids in ((three.add, ["x", "y"]), (three.upsert, ["a", "y"]), (three.update, ["a", "b"])):
        with pytest.raises(InvalidMetadata, match=says):
            verb(ids=ids, vectors=[[0, 0]] * 2, metadata=[{"fine": 1}, {"k": value}])
    assert (three.info(), three.get().to_dicts()) == before


def test_what_is_nested_without_end_is_refused(docs) -> None:
    round_and_round: list[object] = []
    round_and_round.append(round_and_round)
    with pytest.raises(InvalidMetadata, match="nested more than 64 deep"):
        docs.add(ids=["a"], vectors=[[0, 0]], metadata=[{"k": round_and_round}])


@pytest.mark.parametrize("bad", [["x"], "text", 5, [("a", 1)]])
def test_metadata_is_an_object_per_row(docs, bad) -> None:
    with pytest.raises(vicinal.errors.InvalidInput, match="metadata"):
        docs.add(ids=["a"], vectors=[[0, 0]], metadata=bad)


def test_any_key_can_be_stored_filtered_patched_and_unset(docs) -> None:
    docs.add(ids=["all", "none"], vectors=[[0, 0], [1, 1]], metadata=[{key: at for at, key in enumerate(KEYS)}, {}])
    for at, key in enumerate(KEYS):
        wanted = ast.Compare((key,), "==", at)
        assert docs.count(wanted) == 1, key
        assert docs.search([0, 0], where=wanted).ids == ["all"]
        assert docs.update(where=wanted, metadata={key: {"new": at}}) == 1
        assert docs["all"].metadata == {**{k: i for i, k in enumerate(KEYS)}, key: {"new": at}}
        assert docs.count(ast.Compare((key, "new"), "==", at)) == 1
        docs.update(ids=["all"], metadata=[{key: at}])
    for key in KEYS:
        docs.update(where=ast.Exists((key,)), unset=[key])
        assert key not in docs["all"].metadata
    assert docs["all"].metadata == {}


def test_thousands_of_keys_are_patched_at_once(docs) -> None:
    many = {f"k{at}": at for at in range(3000)}
    docs.add(ids=["a"], vectors=[[0, 0]], metadata=[{"n": 1}])
    docs.update(where="n = 1", metadata=many)
    assert docs["a"].metadata == {"n": 1, **many}
    docs.update(where="n = 1", unset=list(many))
    assert docs["a"].metadata == {"n": 1}


keys = st.text(min_size=1).filter(lambda key: not key.startswith("$"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=60)
@given(metadata=st.dictionaries(keys, values))
def test_encoding_loses_nothing(metadata) -> None:
    assert repr(decode_metadata(encode_metadata(metadata, "metadata"))) == repr(metadata)


tricky = st.sampled_from(["},{", '"},{"', "}", "{", ",", "\\", '\\"', "\ud800", "", "é"])
scalars = tricky | st.text() | st.integers(-(2**65), 2**65) | st.floats() | st.booleans() | st.none()


def one_by_one(entries: list[object]) -> list[str | None] | str:
    try:
        return [encode_metadata(entry, f"metadata[{at}]") for at, entry in enumerate(entries)]
    except InvalidMetadata as error:
        return str(error)


@settings(max_examples=300)
@given(
    entries=st.lists(
        st.dictionaries(st.text(), scalars, max_size=3) | st.dictionaries(keys, tricky, max_size=3) | st.none() | values
    )
)
def test_rows_encoded_together_are_as_one_by_one(entries) -> None:
    try:
        found = encode_rows(entries, "metadata")
    except InvalidMetadata as error:
        found = str(error)
    assert found == one_by_one(entries)


def test_a_bad_row_far_down_is_named(docs) -> None:
    rows = [{"n": at, "text": "},{"[: at % 4]} for at in range(2500)]
    assert encode_rows(rows, "metadata") == one_by_one(rows)
    with pytest.raises(InvalidMetadata, match=r"metadata\[2100\]\.n"):
        encode_rows([*rows[:2100], {"n": 2**63}, *rows[2101:]], "metadata")
