"""The k smallest of an array by partition, ties with the k-th kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["rounded_keys", "smallest_of_groups", "smallest_with_ties"]


def rounded_keys(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances as they compare: rounded to float32.

    Beyond the range of float32 the float64 value is kept, so that huge distances keep their order.
    """
    with np.errstate(over="ignore"):
        rounded = distances.astype(np.float32).astype(np.float64)
    beyond = np.isinf(rounded)
    if beyond.any():
        rounded[beyond] = distances[beyond]
    return rounded


def smallest_with_ties(keys: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the indices of the k smallest keys and of all equal to the k-th, by (key, index).

    Fewer than k keys are all returned. Cost: one partition, and a sort of what remains.

    >>> smallest_with_ties(np.array([3.0, 1.0, 2.0, 2.0]), 2)
    array([1, 2, 3])
    """
    if k <= 0:
        return np.empty(0, np.int64)
    chosen = np.arange(len(keys))
    if len(keys) > k:
        chosen = np.flatnonzero(keys <= np.partition(keys, k - 1)[k - 1])
    order = np.argsort(keys[chosen], kind="stable")
    return chosen[order].astype(np.int64, copy=False)


def smallest_of_groups(
    groups: NDArray[np.int64], keys: NDArray[Any], places: NDArray[np.int64], n_groups: int, k: int
) -> tuple[NDArray[np.int64], list[int]]:
    """Return the indices of the k smallest keys of each group, ties with the k-th included, by (key, place).

    groups: which of `n_groups` each key (n,) belongs to. Returns the indices by group, and where those of each
    group begin and the last one's end (n_groups + 1,).

    >>> smallest_of_groups(np.array([1, 0, 1]), np.array([3.0, 1.0, 2.0]), np.arange(3), 2, k=1)
    (array([1, 2]), [0, 1, 2])
    """
    order = np.lexsort((places, keys, groups))
    ordered, keys = groups[order], keys[order]
    every = np.arange(n_groups + 1)
    starts = np.searchsorted(ordered, every)
    last = np.minimum(starts[:-1] + k, starts[1:]) - 1
    kept = keys <= keys[last[ordered]]
    return order[kept], np.searchsorted(ordered[kept], every).tolist()
