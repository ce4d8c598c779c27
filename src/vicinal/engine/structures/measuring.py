"""Measures what graphs and lists miss at each effort, on rows that were kept out of them.

A row that is in a graph is found by walks that start near it: its own links lead to its neighbours. So rows
that shall stand in for queries are left out, and compared exactly by every search.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.codes.calibration import DEPTHS, K_FAR, K_MEASURED
from vicinal.engine.codes.measuring import summary
from vicinal.engine.structures.effort import EffortCalibration, levels_of, lists_ms
from vicinal.index import CodedLists, Graph, Lists

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.engine.structures.effort import Missed
    from vicinal.engine.structures.makers import Structure
    from vicinal.index import Hits

K_MOST: Final = max(K_MEASURED)
_TOLERANCE: Final = 1e-6
_ENOUGH: Final = 2e-4
"""Where no more is missed, greater levels need not be measured."""
_NOT_FAR: Final = 0.99
_SECONDS: Final = 20.0
_FEWEST: Final = 16


def gauge(
    kind: str, structure: Structure, queries: NDArray[Any], truth: Hits, progress: Callable[[int], None]
) -> EffortCalibration | None:
    """Return what is missed at each level and depth, against the `truth` of `queries` (n, width); None where few.

    truth: positions and distances of the `K_MOST` nearest. `progress` is called now and then, may sleep and raise.
    Cost: up to 20 s, the time that it sleeps not counted; levels that were not reached by then are not used.
    """
    if len(queries) < _FEWEST or len(structure) < 4 * K_MEASURED[0]:
        return None
    ks = [k for k in K_MEASURED if k <= max(1, len(structure) // 4)]
    levels = levels_of(kind, None if isinstance(structure, Graph) else structure.centroids.nlist)
    ranks = _ranks(structure, queries, truth) if isinstance(structure, Lists) else None
    measured: list[int] = []
    ms: list[float] = []
    missed: dict[int, list[Missed]] = {k: [] for k in ks}
    spent = 0.0
    for level in levels:
        started = time.perf_counter()
        if isinstance(structure, Lists):
            shares, cost = _by_lists(structure, truth, ranks or [], level, ks)
        else:
            shares, cost = _by_search(structure, queries, truth, level, ks)
        spent += time.perf_counter() - started
        measured.append(level)
        ms.append(cost)
        for k, share in shares.items():
            missed[k].append(summary(share))
        progress(len(structure))
        if spent > _SECONDS or all(each[-1][-1][0] <= _ENOUGH for each in missed.values()):
            break
    return EffortCalibration(
        queries=len(queries),
        levels=tuple(measured),
        ms=tuple(ms),
        missed={k: tuple(each) for k, each in missed.items()},
        far=float(np.quantile([near[min(K_FAR, len(near)) - 1] for _, near in truth], _NOT_FAR)),
    )


def _by_search(
    structure: Graph | CodedLists, queries: NDArray[Any], truth: Hits, level: int, ks: list[int]
) -> tuple[dict[int, NDArray[np.float64]], float]:
    """Return the missed share (queries, depths) for each k, and the median milliseconds of a search."""
    shares = {k: np.zeros((len(queries), len(DEPTHS))) for k in ks}
    times = []
    for number, (query, (positions, near)) in enumerate(zip(queries, truth, strict=True)):
        # Asked for more rows than its lists hold, a search looks beyond them.
        reach = 0 if isinstance(structure, Graph) else structure.reach(query, level)
        started = time.perf_counter()
        if isinstance(structure, Graph):
            found, _ = structure.candidates(query, min(level, DEPTHS[-1]), ef=level)
        else:
            found, _ = structure.candidates(query, min(reach, DEPTHS[-1]), nprobe=level)
        times.append(time.perf_counter() - started)
        for k, share in shares.items():
            due = min(k, len(near))
            limit = float(near[due - 1])
            reached = np.cumsum(np.isin(found, positions[near <= limit + _TOLERANCE * abs(limit)]))
            if len(reached):
                at = np.minimum(DEPTHS, len(reached)) - 1
                share[number] = 1.0 - np.minimum(reached[at], due) / due
            else:
                share[number] = 1.0
    return shares, float(np.median(times)) * 1000.0


def _ranks(structure: Lists, queries: NDArray[Any], truth: Hits) -> list[NDArray[np.int64]]:
    """Return for each query at which place of its ranked lists each true neighbour lies."""
    lists = structure.lists
    found = []
    for query, (positions, _) in zip(queries, truth, strict=True):
        ranked = structure.centroids.ranked(query)
        place = np.empty(len(ranked), np.int64)
        place[ranked] = np.arange(len(ranked))
        found.append(place[lists[positions]])
    return found


def _by_lists(
    structure: Lists, truth: Hits, ranks: list[NDArray[np.int64]], level: int, ks: list[int]
) -> tuple[dict[int, NDArray[np.float64]], float]:
    """Return what `_by_search` does, without searching: rows of the lists are compared exactly at any depth."""
    shares = {k: np.zeros((len(truth), len(DEPTHS))) for k in ks}
    for number, (places, (_, near)) in enumerate(zip(ranks, truth, strict=True)):
        for k, share in shares.items():
            due = min(k, len(near))
            limit = float(near[due - 1])
            reached = int(np.count_nonzero(places[near <= limit + _TOLERANCE * abs(limit)] < level))
            share[number] = 1.0 - min(reached, due) / due
    rows = len(structure) * level / structure.centroids.nlist
    return shares, lists_ms("ivf", rows)
