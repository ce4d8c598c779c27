"""What an adapter does, so that every engine is measured in the same way.

An adapter lives in a process of its own. Ids are row numbers from 0. It may import its engine when it is made,
not when its module is: what the import needs is no part of the engine's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from vicinal.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vicinal.bench.dataset import Metric

__all__ = ["EF", "EF_CONSTRUCTION", "GRAPH_DEGREE", "Durability", "Engine", "Place", "metric_name", "padded"]

Durability = Literal["memory", "file", "synced"]
"""Where rows are when `add` returns: in memory only; in files, which power loss may undo; safe from it."""

GRAPH_DEGREE = 32
"""Neighbours per node of every graph that is built here."""
EF_CONSTRUCTION = 200
EF = (16.0, 32.0, 64.0, 128.0, 256.0)
"""Candidates of a graph search that are tried; never fewer than k are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What an engine is made for: an empty folder, up to `rows` vectors of `dim` numbers, the metric, cores."""

    folder: Path
    rows: int
    dim: int
    metric: Metric
    threads: int


class Engine(Protocol):
    """One engine with one way of searching.

    durability: of `add`. live: rows are found as soon as `add` has returned; else only after `build`.
    effort_name, efforts: the parameter that trades time for recall, and the values to try; none where there
    is only one way to search. concurrent: `search` may be called by several threads at once.
    """

    durability: ClassVar[Durability]
    live: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True
    effort_name: ClassVar[str] = ""
    efforts: ClassVar[tuple[float, ...]] = ()

    def create(self, place: Place) -> None:
        """Make an empty collection. Raises Unsupported for a metric that the engine lacks."""
        ...

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        """Add rows `start`, `start` + 1, … in one call of the engine."""
        ...

    def build(self) -> None:
        """Do what the engine wants done once before it is searched."""

    def set_effort(self, effort: float, k: int) -> None:
        """Choose the effort of the searches to come, which will ask for k rows."""

    def effort_label(self, effort: float) -> str:
        """Return an effort as people read it."""
        return f"{self.effort_name}={effort:g}"

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the ids of the k nearest rows to a query (dim,), best first; fewer where it finds fewer."""
        ...

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return ids of shape (n, k) for queries (n, dim), -1 where fewer were found.

        By default one query after the other, for engines that take no batches.
        """
        return padded([self.search(query, k) for query in queries], k)

    def close(self) -> None:
        """Close files and end threads."""


def padded(found: Sequence[NDArray[np.int64] | Sequence[int]], k: int) -> NDArray[np.int64]:
    """Return lists of ids as one array (n, k), with -1 where there are fewer.

    >>> padded([[3, 1], [2]], 2).tolist()
    [[3, 1], [2, -1]]
    """
    ids = np.full((len(found), k), -1, np.int64)
    for at, row in enumerate(found):
        n = min(k, len(row))
        ids[at, :n] = row[:n]
    return ids


def metric_name(engine: str, names: dict[Metric, str], metric: Metric) -> str:
    """Return an engine's own name of a metric. Raises Unsupported where it has none."""
    if metric not in names:
        message = f"{engine} has no metric {metric!r}"
        raise Unsupported(message)
    return names[metric]
