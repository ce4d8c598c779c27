"""Milvus Lite: the client's embedded server on a local file, with an HNSW graph."""
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

_MESSAGE_BYTES = 16 << 20  # of one call; gRPC refuses messages above 64 MB


class MilvusLite(Engine):
    """One collection with strong consistency: a search sees what was inserted before."""

    durability: ClassVar[Durability] = "file"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._milvus = optional("pymilvus", "milvus-lite", "pip install pymilvus milvus-lite")

    def create(self, place: Place) -> None:
        kinds = self._milvus.DataType
        self._metric = metric_name("milvus-lite", {"cosine": "COSINE", "l2": "L2", "dot": "IP"}, place.metric)
        self._client: Any = self._milvus.MilvusClient(uri=str(place.folder / "milvus.db"))
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", kinds.INT64, is_primary=True)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=place.dim)
        index = self._client.prepare_index_params()
        index.add_index(
            field_name="vector",
            index_type="HNSW",
            metric_type=self._metric,
            params={"M": GRAPH_DEGREE, "efConstruction": EF_CONSTRUCTION},
        )
        self._client.create_collection("bench", schema=schema, index_params=index, consistency_level="Strong")
        self._per_call = max(1, _MESSAGE_BYTES // (4 * place.dim))
        self._ef = 64

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        for first in range(0, len(vectors), self._per_call):
            part = vectors[first : first + self._per_call]
            rows = [{"id": start + first + at, "vector": vector.tolist()} for at, vector in enumerate(part)]
            self._client.insert("bench", rows)

    def build(self) -> None:
        self._client.flush("bench")
        # Its graphs are built in the background; loading anew waits for them.
        self._client.release_collection("bench")
        self._client.load_collection("bench")

    def set_effort(self, effort: float, k: int) -> None:
        self._ef = max(int(effort), k)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.search_batch(query[None], k)[0]
        return ids

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = self._client.search(
            "bench",
            data=queries.tolist(),
            anns_field="vector",
            limit=k,
            search_params={"metric_type": self._metric, "params": {"ef": self._ef}},
        )
        return padded([[int(hit["id"]) for hit in hits] for hits in found], k)

    def close(self) -> None:
        self._client.close()
