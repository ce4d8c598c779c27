"""hnswlib and usearch: HNSW graphs in memory."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import (
    EF,
    EF_CONSTRUCTION,
    GRAPH_DEGREE,
    Durability,
    Engine,
    Place,
    metric_name,
    padded,
)
from vicinal.bench.optional import optional

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Hnswlib(Engine):
    """hnswlib.Index; its capacity is set once."""

    durability: ClassVar[Durability] = "memory"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._hnswlib = optional("hnswlib", "hnswlib", "pip install hnswlib")

    def create(self, place: Place) -> None:
        space = metric_name("hnswlib", {"cosine": "cosine", "l2": "l2", "dot": "ip"}, place.metric)
        self._index: Any = self._hnswlib.Index(space=space, dim=place.dim)
        # hnswlib keeps 2M neighbours on the lowest layer and M above, as faiss does.
        self._index.init_index(
            max_elements=place.rows, ef_construction=EF_CONSTRUCTION, M=GRAPH_DEGREE, random_seed=100
        )
        self._index.set_num_threads(place.threads)

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        self._index.add_items(vectors, np.arange(start, start + len(vectors)))

    def set_effort(self, effort: float, k: int) -> None:
        self._index.set_ef(max(int(effort), k))

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        ids, _ = self._index.knn_query(query, k=k, num_threads=1)
        return np.asarray(ids[0], np.int64)

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        ids, _ = self._index.knn_query(queries, k=k)
        return np.asarray(ids, np.int64)


class Usearch(Engine):
    """usearch.index.Index with float32 vectors."""

    durability: ClassVar[Durability] = "memory"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._usearch = optional("usearch.index", "usearch", "pip install usearch")

    def create(self, place: Place) -> None:
        self._threads = place.threads
        self._index: Any = self._usearch.Index(
            ndim=place.dim,
            metric=metric_name("usearch", {"cosine": "cos", "l2": "l2sq", "dot": "ip"}, place.metric),
            dtype="f32",
            connectivity=GRAPH_DEGREE,
            expansion_add=EF_CONSTRUCTION,
        )

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        self._index.add(np.arange(start, start + len(vectors)), vectors, threads=self._threads)

    def set_effort(self, effort: float, k: int) -> None:
        self._index.expansion_search = max(int(effort), k)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        return np.asarray(self._index.search(query, k, threads=1).keys, np.int64)

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = self._index.search(queries, k, threads=self._threads)
        rows = zip(np.atleast_2d(found.keys), np.atleast_1d(found.counts), strict=True)
        return padded([np.asarray(keys[:count], np.int64) for keys, count in rows], k)
