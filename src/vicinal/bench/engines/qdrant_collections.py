"""Qdrant in this process: the client's local mode, and the embedded shard of Qdrant Edge."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import EF, EF_CONSTRUCTION, GRAPH_DEGREE, Durability, Engine, Place, metric_name
from vicinal.bench.optional import optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicinal.bench.dataset import Metric

_FIELD = "vector"
_DISTANCES: dict[Metric, str] = {"cosine": "Cosine", "l2": "Euclid", "dot": "Dot"}
_FULL_SCAN_KB = 1  # of vectors below which a shard is scanned instead of searched by its graph


class QdrantLocal(Engine):
    """QdrantClient(path=…): Qdrant's API over NumPy, meant for small data; exact."""

    durability: ClassVar[Durability] = "file"
    concurrent: ClassVar[bool] = False

    def __init__(self) -> None:
        self._qdrant = optional("qdrant_client", "qdrant-local", "pip install qdrant-client")

    def create(self, place: Place) -> None:
        self._models = self._qdrant.models
        self._client: Any = self._qdrant.QdrantClient(path=str(place.folder / "qdrant"))
        distance = getattr(self._models.Distance, metric_name("qdrant", _DISTANCES, place.metric).upper())
        self._client.create_collection(
            "bench", vectors_config=self._models.VectorParams(size=place.dim, distance=distance)
        )

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        ids = list(range(start, start + len(vectors)))
        self._client.upsert("bench", points=self._models.Batch(ids=ids, vectors=vectors.tolist()))

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = self._client.query_points("bench", query=query.tolist(), limit=k, with_payload=False)
        return np.array([int(point.id) for point in found.points], np.int64)

    def close(self) -> None:
        self._client.close()


class QdrantEdge(Engine):
    """EdgeShard: Qdrant's own engine; `optimize` builds its graph."""

    durability: ClassVar[Durability] = "file"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._edge = optional("qdrant_edge", "qdrant-edge", "pip install qdrant-edge-py")

    def create(self, place: Place) -> None:
        edge = self._edge
        folder = place.folder / "qdrant-edge"
        folder.mkdir()
        distance = getattr(edge.Distance, metric_name("qdrant-edge", _DISTANCES, place.metric))
        config = edge.EdgeConfig(
            vectors={_FIELD: edge.EdgeVectorParams(size=place.dim, distance=distance)},
            hnsw_config=edge.HnswIndexConfig(
                m=GRAPH_DEGREE, ef_construct=EF_CONSTRUCTION, full_scan_threshold=_FULL_SCAN_KB
            ),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_FULL_SCAN_KB),
        )
        self._shard: Any = edge.EdgeShard.create(str(folder), config)

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        points = [self._edge.Point(start + at, {_FIELD: vector}, {}) for at, vector in enumerate(vectors.tolist())]
        self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def build(self) -> None:
        self._shard.flush()
        self._shard.optimize()

    def set_effort(self, effort: float, k: int) -> None:
        self._parameters = self._edge.SearchParams(hnsw_ef=max(int(effort), k))

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        request = self._edge.QueryRequest(
            query=self._edge.Query.Nearest(query.tolist(), using=_FIELD),
            limit=k,
            params=self._parameters,
            with_payload=False,
            with_vector=False,
        )
        return np.array([int(point.id) for point in self._shard.query(request)], np.int64)

    def close(self) -> None:
        self._shard.close()
