"""Chroma: a persistent client in this process, with an HNSW graph."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

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
    import numpy as np
    from numpy.typing import NDArray


class Chroma(Engine):
    """Embeddings are given, so that no embedding function is loaded."""

    durability: ClassVar[Durability] = "file"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._chroma = optional("chromadb", "chromadb", "pip install chromadb")
        self._config = optional("chromadb.config", "chromadb", "pip install chromadb")

    def create(self, place: Place) -> None:
        graph = {
            "space": metric_name("chromadb", {"cosine": "cosine", "l2": "l2", "dot": "ip"}, place.metric),
            "ef_construction": EF_CONSTRUCTION,
            "max_neighbors": GRAPH_DEGREE,
            "num_threads": place.threads,
        }
        self._path = str(place.folder / "chroma")
        self._open()
        self._rows: Any = self._client.create_collection(
            "bench", embedding_function=None, configuration={"hnsw": graph}
        )
        self._per_call = int(self._client.get_max_batch_size())

    def _open(self) -> None:
        settings = self._config.Settings(anonymized_telemetry=False)
        self._client: Any = self._chroma.PersistentClient(path=self._path, settings=settings)

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        for first in range(0, len(vectors), self._per_call):
            part = vectors[first : first + self._per_call]
            ids = [str(start + first + at) for at in range(len(part))]
            self._rows.add(ids=ids, embeddings=part)

    def set_effort(self, effort: float, k: int) -> None:
        self._rows.modify(configuration={"hnsw": {"ef_search": max(int(effort), k)}})
        # A graph in memory keeps the value it was loaded with.
        self._client.close()
        self._open()
        self._rows = self._client.get_collection("bench", embedding_function=None)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.search_batch(query[None], k)[0]
        return ids

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = self._rows.query(query_embeddings=queries, n_results=k, include=[])["ids"]
        return padded([[int(identity) for identity in ids] for ids in found], k)

    def close(self) -> None:
        self._client.close()
