from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.index import Block, fetch_from, side_by_side


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    apart=st.lists(st.booleans(), min_size=6, max_size=6),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_rows_come_from_the_right_block_wherever_it_lies(lengths, apart, data):
    n = sum(lengths)
    whole = np.arange(3.0 * n, dtype=np.float32).reshape(n, 3).copy()
    blocks, first = [], 0
    for length, own in zip(lengths, apart, strict=False):
        part = whole[first : first + length]
        blocks.append(Block(first, part.copy() if own else part))
        first += length
    positions = np.array(data.draw(st.lists(st.integers(0, max(0, n - 1)), max_size=8 if n else 0)), np.int64)
    assert np.array_equal(fetch_from(blocks)(positions), whole[positions])


def test_parts_of_one_array_are_joined_without_a_copy():
    whole = np.arange(24.0).reshape(8, 3).copy()
    joined = side_by_side([whole[1:3], whole[3:4], whole[4:8]])
    assert np.array_equal(joined, whole[1:8])
    assert np.shares_memory(joined, whole)
    assert side_by_side([whole]) is whole
    numbers = np.arange(4)
    assert np.array_equal(side_by_side([numbers[1:3], numbers[3:]]), [1, 2, 3])


@pytest.mark.parametrize(
    "parts",
    [
        lambda whole: [],
        lambda whole: [whole[:2], whole[3:]],  # a gap
        lambda whole: [whole[2:], whole[:2]],  # the wrong order
        lambda whole: [whole[:2], whole[2:].copy()],  # elsewhere
        lambda whole: [whole[:4:2], whole[4:]],  # not dense
        lambda whole: [whole[:2, :2], whole[2:, :2]],  # not whole rows
    ],
)
def test_what_does_not_follow_in_memory_is_not_joined(parts):
    assert side_by_side(parts(np.arange(24.0).reshape(8, 3).copy())) is None
