"""What versions of a column share stays right when threads append to it at the same time."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vicinal.filters.buffer import Grown
from vicinal.filters.dictionary import Dictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_THREADS = 4

Codes = dict[tuple[int, int], int]


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(task: Callable[[int], None]) -> None:
    """Run the task in several threads that start at once."""
    start = threading.Barrier(N_THREADS)

    def run(number: int) -> None:
        start.wait()
        task(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_code_means_one_value_whoever_adds_it() -> None:
    for _ in range(10):
        dictionary: Dictionary[str] = Dictionary()
        found: Codes = {}

        def add(number: int, dictionary: Dictionary[str] = dictionary, found: Codes = found) -> None:
            for step in range(200):
                found[number, step] = int(dictionary.encode([f"{number}-{step}"])[0])

        together(add)
        values = dictionary.values()
        assert len(values) == len(set(values)) == N_THREADS * 200
        assert all(values[code - 1] == f"{number}-{step}" for (number, step), code in found.items())


class Slow:
    """Three ones that let another thread run while they are copied into a buffer."""

    dtype = np.dtype(np.int64)

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.thread = threading.Thread(target=meanwhile)

    def __len__(self) -> int:
        return 3

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        self.thread.start()
        self.thread.join(0.05)
        return np.ones(3, np.int64)


def test_spare_room_goes_to_one_append() -> None:
    base = Grown(np.zeros(1, np.int64)).appended(np.zeros(1, np.int64))
    others: list[Grown] = []
    slow = Slow(lambda: others.append(base.appended(np.full(3, 2))))
    grown = base.appended(slow)
    slow.thread.join()
    assert grown.values.tolist() == [0, 0, 1, 1, 1]
    assert others[0].values.tolist() == [0, 0, 2, 2, 2]
