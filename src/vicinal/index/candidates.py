"""Candidates of an exact search: kept while their error bounds allow them among the k nearest."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.index.kernels import value_of
from vicinal.vectors import (
    Metric,
    VectorSpec,
    distances,
    pair_distances,
    rounded_keys,
    smallest_of_groups,
    smallest_with_ties,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Candidates", "Hits", "with_ties"]

Hits = list[tuple[NDArray[np.int64], NDArray[np.float32]]]
"""For each query: positions and distances, sorted by (distance, position)."""

_KNOWN = -1


def with_ties(values: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return the largest values whose distances may round to the float32 of these ones."""
    if metric == "cosine":
        return values + 2.0**-22 * np.abs(values + 1.0) + 1e-15
    return values + 2.0**-21 * np.abs(values) + 2.0**-149


class Candidates:
    """Rows that may be among the k nearest of a batch of queries; one object per thread.

    Each candidate has bounds `low <= value <= high`. The k-th smallest `high` of a query is its
    `limit`: whatever lies above it, ties within float32 included, is dropped.

    Rows are fetched at the end by their positions; without `fetch` they are copied as they come, so
    that the arrays they came from may be reused. Those with known distances need no row.
    """

    __slots__ = (
        "_distance", "_fetch", "_high", "_low", "_n_waiting", "_n_waiting_rows", "_position", "_query", "_row",
        "_rows", "_waiting", "_waiting_rows", "k", "limit", "queries", "spec",
    )  # fmt: skip

    def __init__(
        self, queries: NDArray[Any], spec: VectorSpec, k: int, fetch: Callable[[NDArray[np.int64]], NDArray[Any]] | None
    ) -> None:
        self._fetch = fetch
        self.queries = queries
        self.spec = spec
        self.k = k
        self.limit = np.full(len(queries), np.inf)
        self._query = np.empty(0, np.int64)
        self._position = np.empty(0, np.int64)
        self._low = np.empty(0)
        self._high = np.empty(0)
        self._distance = np.empty(0)
        self._row = np.empty(0, np.int64)  # index into _rows
        # What came since the limits were lowered last.
        self._waiting: list[tuple[NDArray[Any], ...]] = []
        self._waiting_rows: list[NDArray[Any]] = []
        self._n_waiting = self._n_waiting_rows = 0
        self._rows: NDArray[Any] = np.empty((0, spec.width), spec.storage_dtype)

    def add_bounded(
        self,
        query: NDArray[np.int64],
        position: NDArray[np.int64],
        bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
        vectors: NDArray[Any],
        rows: NDArray[np.int64],
    ) -> None:
        """Add pairs (query number, position) with value bounds; their vectors are `vectors[rows]`."""
        row = np.arange(len(query)) + (len(self._rows) + self._n_waiting_rows)
        if self._fetch is None:
            self._waiting_rows.append(vectors[rows])
            self._n_waiting_rows += len(rows)
        self._append(query, position, bounds, np.full(len(query), np.nan), row)

    def add_exact(
        self,
        query: NDArray[np.int64],
        position: NDArray[np.int64],
        distance: NDArray[np.float64],
    ) -> None:
        """Add pairs whose distances are known."""
        value = value_of(distance, self.spec.metric)
        self._append(query, position, (value, value), distance, np.full(len(query), _KNOWN))

    def _append(
        self,
        query: NDArray[np.int64],
        position: NDArray[np.int64],
        bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
        distance: NDArray[np.float64],
        row: NDArray[np.int64],
    ) -> None:
        self._waiting.append((query, position, *bounds, distance, row))
        self._n_waiting += len(query)
        # Rarely enough to be cheap, often enough for a tight threshold.
        if self._n_waiting >= len(self.queries) * self.k or np.isinf(self.limit).any():
            self._tighten()

    def _tighten(self) -> None:
        """Lower the limits and drop what lies above them."""
        if not self._waiting:
            return
        self._settle()
        keep = self.within(self._query, (self._low, self._high))
        if not keep.all():
            self._select(keep)

    def _settle(self) -> None:
        columns = [np.concatenate(parts) for parts in zip(self._columns(), *self._waiting, strict=True)]
        self._query, self._position, self._low, self._high, self._distance, self._row = columns
        if self._waiting_rows:
            self._rows = np.concatenate([self._rows, *self._waiting_rows])
        self._waiting, self._waiting_rows = [], []
        self._n_waiting = self._n_waiting_rows = 0

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return (self._query, self._position, self._low, self._high, self._distance, self._row)

    def within(
        self, query: NDArray[np.int64], bounds: tuple[NDArray[np.float64], NDArray[np.float64]]
    ) -> NDArray[np.bool_]:
        """Lower the limits by these pairs, and return which of them lie within."""
        k, (low, high) = self.k, bounds
        keep: NDArray[np.bool_]
        if len(self.queries) == 1:
            if len(high) >= k:
                kth = np.partition(high, k - 1)[k - 1 : k]
                np.minimum(self.limit, with_ties(kth, self.spec.metric), out=self.limit)
            keep = low <= self.limit[0]
            return keep
        order = np.lexsort((high, query))
        starts = np.searchsorted(query[order], np.arange(len(self.queries) + 1))
        full = np.flatnonzero(np.diff(starts) >= k)
        kth = high[order[starts[full] + k - 1]]
        self.limit[full] = np.minimum(self.limit[full], with_ties(kth, self.spec.metric))
        keep = low <= self.limit[query]
        return keep

    def _select(self, keep: NDArray[np.bool_]) -> None:
        self._query, self._position = self._query[keep], self._position[keep]
        self._low, self._high = self._low[keep], self._high[keep]
        self._distance, self._row = self._distance[keep], self._row[keep]
        if self._fetch is None:
            pending = self._row != _KNOWN
            self._rows = self._rows[self._row[pending]]
            self._row[pending] = np.arange(len(self._rows))

    def merge(self, other: Candidates) -> None:
        """Take over the candidates of another thread."""
        self._settle()
        other._settle()
        row = np.where(other._row == _KNOWN, _KNOWN, other._row + len(self._rows))
        self._waiting = [(*other._columns()[:-1], row)]
        self._waiting_rows = [other._rows] if len(other._rows) else []
        self._tighten()

    def exact(self, query: NDArray[np.int64], rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the direct float64 distances of pairs of query numbers and rows."""
        if len(self.queries) == 1:
            return distances(self.queries[0], rows, self.spec)
        return pair_distances(self.queries, query, rows, self.spec)

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self._waiting and not len(self._query)

    def best(
        self, positions: NDArray[np.int64], distance: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the k nearest among ascending positions with their distances, with ties."""
        best = smallest_with_ties(rounded_keys(distance), self.k)
        with np.errstate(over="ignore"):
            return positions[best], distance[best].astype(np.float32)

    def finish(self) -> Hits:
        """Compare what is left directly and return the k nearest of each query, with ties."""
        self._tighten()
        pending = self._row != _KNOWN
        rows = self._rows if self._fetch is None else self._fetch(self._position[pending])
        self._distance[pending] = self.exact(self._query[pending], rows)
        if len(self.queries) == 1:
            order = np.argsort(self._position)
            return [self.best(self._position[order], self._distance[order])]
        keys = rounded_keys(self._distance)
        order, ends = smallest_of_groups(self._query, keys, self._position, len(self.queries), self.k)
        with np.errstate(over="ignore"):
            position, distance = self._position[order], self._distance[order].astype(np.float32)
        return [(position[start:stop], distance[start:stop]) for start, stop in pairwise(ends)]
