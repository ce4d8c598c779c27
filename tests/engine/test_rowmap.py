"""Columns read from joined JSON: lists that repeat are told apart by their text, or not at all."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from vicinal.engine.rowmap import _repeated_lists

TEXTS = st.sampled_from(["a", "],[", '"],["', "]]", "[[", "\\", '\\"', '],["', "é", ""]) | st.text(max_size=4)
ELEMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
ROWS = st.lists(st.lists(ELEMENTS, max_size=3), min_size=1, max_size=4)


@given(rows=ROWS, others=st.lists(ELEMENTS, max_size=1), repeats=st.integers(8, 20))
def test_repeated_lists_are_those_of_the_text(rows: list[list[object]], others: list[object], repeats: int) -> None:
    values = rows * repeats + others
    found = _repeated_lists(json.dumps(values, separators=(",", ":")))
    if found is not None:
        distinct, places = found
        assert [distinct[place] for place in places] == values


def test_lists_of_tags_are_parsed_once_each() -> None:
    values = [["a", "b"], [], ["c"]] * 10
    found = _repeated_lists(json.dumps(values, separators=(",", ":")))
    assert found is not None
    assert found[0] == [["a", "b"], [], ["c"]]
    assert found[1].tolist() == [0, 1, 2] * 10


def test_different_lists_and_other_values_are_left_to_the_parser() -> None:
    for values in ([[number] for number in range(30)], [1] * 30, [["a"], {"$": 0}] * 15, [["a"], "b"] * 15):
        assert _repeated_lists(json.dumps(values, separators=(",", ":"))) is None
