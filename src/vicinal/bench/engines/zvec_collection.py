"""zvec: a collection in a folder, with an HNSW graph that `optimize` builds."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import EF, EF_CONSTRUCTION, GRAPH_DEGREE, Durability, Engine, Place, metric_name
from vicinal.bench.optional import optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PER_CALL = 1000  # rows; zvec refuses calls of more than 1024


class Zvec(Engine):
    """Rows not yet in the graph are compared one by one."""

    durability: ClassVar[Durability] = "file"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._zvec = optional("zvec", "zvec", "pip install zvec")
        self._initialised = False

    def create(self, place: Place) -> None:
        zvec = self._zvec
        if not self._initialised:
            zvec.init(log_level=zvec.LogLevel.ERROR, query_threads=place.threads, optimize_threads=place.threads)
            self._initialised = True
        metric = metric_name("zvec", {"cosine": "COSINE", "l2": "L2", "dot": "IP"}, place.metric)
        index = zvec.HnswIndexParam(
            metric_type=getattr(zvec.MetricType, metric), m=GRAPH_DEGREE, ef_construction=EF_CONSTRUCTION
        )
        vector = zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, place.dim, index_param=index)
        schema = zvec.CollectionSchema(name="bench", fields=[], vectors=vector)
        self._rows: Any = zvec.create_and_open(str(place.folder / "zvec"), schema)
        self._threads = place.threads

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        for first in range(0, len(vectors), _PER_CALL):
            part = vectors[first : first + _PER_CALL]
            statuses = self._rows.insert(
                [self._zvec.Doc(str(start + first + at), vectors={"v": vector}) for at, vector in enumerate(part)]
            )
            for status in statuses if isinstance(statuses, list) else [statuses]:
                if not status.ok():
                    message = f"insert: {status.message()}"
                    raise RuntimeError(message)

    def build(self) -> None:
        self._rows.flush()
        self._rows.optimize(self._zvec.OptimizeOption(concurrency=self._threads))

    def set_effort(self, effort: float, k: int) -> None:
        self._parameters = self._zvec.HnswQueryParam(ef=max(int(effort), k))

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        asked = self._zvec.Query("v", vector=query, param=self._parameters)
        found = self._rows.query(asked, topk=k, output_fields=[])
        return np.array([int(doc.id) for doc in found], np.int64)

    def close(self) -> None:
        self._rows.close()
