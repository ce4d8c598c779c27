"""Who is linked to whom: the lists of a graph, checked, persisted, and repaired. NumPy only.

A graph of `M` gives every row `levels` lists (1 for most rows): up to 2 M links on level 0, up to M
on each level above (Malkov, Yashunin 2018, section 4.1). In memory lists have that many slots each,
-1 behind the last link: row after row, level after level. Persisted, only links are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import Corrupted
from vicinal.index import native_graph
from vicinal.index.plain import named_array, one_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["M_BOUNDS", "Links", "link_unreachable"]

M_BOUNDS = (2, 256)
_MOST_ROWS = (1 << 31) - 1
_STEP = 1 << 16
"""Lists looked at together: temporaries stay within tens of megabytes."""
_STEP_SLOTS = 1 << 20
_KIND = "graph"


class Links:
    """The lists of a graph of n rows; `slots` is written to by `link_unreachable` alone."""

    __slots__ = ("entry", "levels", "m", "offsets", "slots")

    def __init__(self, m: int, levels: NDArray[np.uint8], slots: NDArray[np.int32], entry: int) -> None:
        self.m = m
        self.levels = levels
        """(n,): how many lists each row has."""
        self.slots = slots
        """int32: links of all lists, -1 where there is none."""
        self.entry = entry
        """The row on top, where searches begin; -1 without rows."""
        self.offsets = _offsets(m, levels)
        """(n + 1,) int64: where the slots of each row begin."""

    def __len__(self) -> int:
        return len(self.levels)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.slots.nbytes + self.levels.nbytes + self.offsets.nbytes

    @property
    def mean_degree(self) -> float:
        """Links per row."""
        return np.count_nonzero(self.slots >= 0) / max(1, len(self.levels))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return `levels` (n,) uint8, `counts` of links per list uint16, `links` int32, `entry` and `M` int64."""
        filled = self.slots >= 0
        starts, _, _ = _lists(self.m, self.levels, self.offsets)
        counts = np.add.reduceat(filled, starts, dtype=np.uint16) if len(starts) else np.empty(0, np.uint16)
        return {
            "levels": self.levels.copy(),
            "counts": counts,
            "links": self.slots[filled],
            "entry": np.array([self.entry], np.int64),
            "M": np.array([self.m], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], n: int) -> Links:
        """Return the links of n rows that `arrays` hold; raise Corrupted unless every link may be followed.

        Checked: types, shapes and sums; that links lead to rows, and on level l to rows that have
        level l; that the entry point is on the top level. Cost: 0.1 s per 100,000 rows of M = 32.
        """
        m = int(one_number(arrays, _KIND, "M", np.int64, M_BOUNDS))
        levels = named_array(arrays, _KIND, "levels", np.uint8, (n,))
        entry = int(one_number(arrays, _KIND, "entry", np.int64, (0, n - 1) if n else (-1, -1)))
        if n > _MOST_ROWS:
            raise Corrupted(f"{_KIND}: {n} rows are more than a graph holds")
        if n and not 1 <= int(levels.min()) <= int(levels.max()) <= native_graph.most_levels(m):
            raise Corrupted(f"{_KIND}: levels {levels.min()} to {levels.max()} do not go with M = {m}")
        if n and levels[entry] != levels.max():
            raise Corrupted(f"{_KIND}: the entry point {entry} is not on the top level")
        offsets = _offsets(m, levels)
        starts, level, room = _lists(m, levels, offsets)
        counts = named_array(arrays, _KIND, "counts", np.uint16, (len(starts),))
        if (counts > room).any():
            raise Corrupted(f"{_KIND}: a list of M = {m} is too long")
        links = named_array(arrays, _KIND, "links", np.int32, (int(counts.sum(dtype=np.int64)),))
        if len(links) and not 0 <= int(links.min()) <= int(links.max()) < n:
            raise Corrupted(f"{_KIND}: a link leads to none of the {n} rows")
        slots = np.full(int(offsets[-1]), -1, np.int32)
        at = 0
        for first in range(0, len(starts), _STEP):
            part = slice(first, first + _STEP)
            lengths = counts[part].astype(np.int64)
            mine = links[at : at + int(lengths.sum())]
            if (levels[mine] <= np.repeat(level[part], lengths)).any():
                raise Corrupted(f"{_KIND}: a link leads to a row that is not on its level")
            within = np.arange(len(mine)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            slots[np.repeat(starts[part], lengths) + within] = mine
            at += len(mine)
        return cls(m, levels, slots, entry)

    def parents(self) -> NDArray[np.int64]:
        """Return from which row each was first come to (n,), by walks on level 0 from the entry point.

        Breadth first; the entry point has itself, rows that cannot be reached have -1. Cost: 0.1 s
        per 100,000 rows of M = 16.
        """
        parents = np.full(len(self.levels), -1, np.int64)
        if len(parents):
            parents[self.entry] = self.entry
            self.spread(self.entry, parents)
        return parents

    def spread(self, row: int, parents: NDArray[np.int64]) -> None:
        """Note in `parents` what is reached from `row`, and from that, without having been reached before."""
        front = np.array([row])
        while len(front):
            step = max(1, _STEP_SLOTS // self.m)
            found = [self._first_seen(front[at : at + step], parents) for at in range(0, len(front), step)]
            front = np.concatenate(found)

    def _first_seen(self, rows: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.int64]:
        links = self.slots[self.offsets[rows][:, None] + np.arange(2 * self.m)]
        owner, place = np.nonzero((links >= 0) & (parents[links] < 0))
        new, first = np.unique(links[owner, place], return_index=True)
        parents[new] = rows[owner[first]]
        return new.astype(np.int64)

    def unreachable(self) -> NDArray[np.int64]:
        """Return the rows, ascending, that no walk on level 0 from the entry point comes to."""
        return np.flatnonzero(self.parents() < 0)


def link_unreachable(links: Links, nearest: Callable[[int], NDArray[np.int64]]) -> None:
    """Give rows that cannot be reached a link on level 0 from one that can, so that all are.

    `nearest` returns rows near a row, nearest first: of those that are reached, the first one with
    a free slot gets the link; else any with one; else it takes the place of a link by which nobody
    was first come to. Pruning drops links between equal vectors, and products favour long rows: half
    of 10,000 duplicates, and a quarter of rows of mixed lengths, were found to be out of reach.
    """
    parents = links.parents()
    lost = np.flatnonzero(parents < 0)
    last = links.offsets[:-1] + 2 * links.m - 1
    spare = np.flatnonzero((parents >= 0) & (links.slots[last] < 0))[::-1].tolist() if len(lost) else []
    for row in lost.tolist():
        if parents[row] >= 0:
            continue
        near = nearest(row)
        near = near[parents[near] >= 0]
        while spare and links.slots[last[spare[-1]]] >= 0:
            spare.pop()
        free = near[links.slots[last[near]] < 0]
        hosts = [*free[:1].tolist(), *spare[-1:], *near.tolist()]
        host, slot = next(_slots_for(links, hosts, parents), (-1, -1))
        if host < 0:  # full of links that others need, which cannot be true of all rows: n - 1 are needed
            host, slot = next(_slots_for(links, np.flatnonzero(parents >= 0).tolist(), parents))
        links.slots[slot] = row
        parents[row] = host
        links.spread(row, parents)


def _slots_for(links: Links, hosts: list[int], parents: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield rows of `hosts` and a slot of theirs that may be written to."""
    for host in hosts:
        start = int(links.offsets[host])
        own = links.slots[start : start + 2 * links.m]
        if own[-1] < 0:
            yield host, start + int(np.count_nonzero(own >= 0))
            continue
        unneeded = np.flatnonzero(parents[own] != host)
        if len(unneeded):
            yield host, start + int(unneeded[-1])


def _offsets(m: int, levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    offsets = np.zeros(len(levels) + 1, np.int64)
    np.cumsum((levels.astype(np.int64) + 1) * m, out=offsets[1:])
    return offsets


def _lists(
    m: int, levels: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint16]]:
    """Return where each list starts, its level, and how many links it has room for."""
    counts = levels.astype(np.int64)
    level = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(offsets[:-1], counts) + np.where(level, (level + 1) * m, 0)
    return starts, level.astype(np.uint8), np.where(level, m, 2 * m).astype(np.uint16)
