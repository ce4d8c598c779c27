"""Blocks of vectors in memory, joined from what was joined before, against one plain array."""

from __future__ import annotations

import numpy as np
import pytest

from vicinal.engine.growing import Growing
from vicinal.engine.loading import ResidentBlock
from vicinal.engine.resident import Resident
from vicinal.index import BLOCK_ROWS

ROOM = 4 * BLOCK_ROWS
SLOTS = Growing.of(np.arange(ROOM))


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((ROOM, 2)).astype(np.float32)


def in_place(vectors, at, n, *, apart=False):
    """Return block number `at` with n rows, in the array of all or, `apart`, in one of its own."""
    part = slice(at * BLOCK_ROWS, (at + 1) * BLOCK_ROWS)
    rows, norms = vectors[part], np.arange(ROOM, dtype=np.float32)[part]
    rows = rows.copy() if apart else rows
    return ResidentBlock(Growing.within(rows, n), Growing.within(norms, n), None)


def check(resident, vectors):
    n = resident.length
    positions = np.random.default_rng(1).permutation(n)[:500]
    np.testing.assert_array_equal(resident.fetch(positions), vectors[positions])
    if resident.whole is not None:
        np.testing.assert_array_equal(resident.whole.vectors, vectors[:n])


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("n_whole", [0, 1, 2])
def test_a_longer_last_block_is_joined_or_stands_apart(vectors, n_whole, apart) -> None:
    blocks = [in_place(vectors, at, BLOCK_ROWS) for at in range(n_whole)]
    length = n_whole * BLOCK_ROWS
    first = Resident.of(SLOTS, [*blocks, in_place(vectors, n_whole, 10)], length + 10)
    check(first, vectors)
    assert first.whole is not None
    second = Resident.of(SLOTS, [*blocks, in_place(vectors, n_whole, 25, apart=apart)], length + 25, first)
    check(second, vectors)
    assert (second.whole is None) == (apart and n_whole > 0)
    third = Resident.of(SLOTS, [*blocks, in_place(vectors, n_whole, 40)], length + 40, second)
    check(third, vectors)
    assert third.whole is not None
    assert third.room is first.room


def test_another_block_is_joined(vectors) -> None:
    one = in_place(vectors, 0, BLOCK_ROWS)
    first = Resident.of(SLOTS, [one], BLOCK_ROWS)
    second = Resident.of(SLOTS, [one, in_place(vectors, 1, 3)], BLOCK_ROWS + 3, first)
    check(second, vectors)
    assert second.whole is not None
