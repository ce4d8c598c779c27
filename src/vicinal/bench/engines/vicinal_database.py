"""vicinal itself, through its public API only."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

import vicinal
from vicinal.bench.engines.protocol import Durability, Engine, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXACT = 1.0


class Vicinal(Engine):
    """One collection with default settings; an effort is a recall target, 1 means `exact=True`."""

    durability: ClassVar[Durability] = "synced"
    effort_name: ClassVar[str] = "recall"
    efforts: ClassVar[tuple[float, ...]] = (0.9, 0.95, 0.99, _EXACT)

    def create(self, place: Place) -> None:
        self._database = vicinal.connect(place.folder / "bench.db", threads=place.threads)
        self._rows = self._database.collection("bench", dim=place.dim, metric=place.metric)
        self._recall = _EXACT

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        self._rows.add(ids=np.arange(start, start + len(vectors)), vectors=vectors)

    def build(self) -> None:
        # Whatever maintenance would do in the background is part of the build, not of the searches after it.
        self._database.compact()

    def set_effort(self, effort: float, k: int) -> None:  # noqa: ARG002 - recall targets do not depend on k
        self._recall = min(effort, _EXACT)

    def effort_label(self, effort: float) -> str:
        return "exact" if effort >= _EXACT else f"recall={effort:g}"

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        exact = self._recall >= _EXACT
        hits = self._rows.search(vector=query, k=k, recall=self._recall, exact=exact, include=())
        return np.asarray(hits.ids, np.int64)

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        exact = self._recall >= _EXACT
        found = self._rows.search_batch(queries, k=k, recall=self._recall, exact=exact, arrays=True)
        return np.asarray(getattr(found, "ids"), np.int64)  # noqa: B009 - a union by `arrays`

    def close(self) -> None:
        self._database.close()
