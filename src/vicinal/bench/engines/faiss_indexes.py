"""faiss: exact, a graph, and the scan of product-quantised codes. All in memory."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import EF, EF_CONSTRUCTION, GRAPH_DEGREE, Durability, Engine, Place
from vicinal.bench.optional import optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAINING_ROWS = 65_536
_CODE_BITS = 4


class FaissFlat(Engine):
    """IndexFlat: every vector compared."""

    durability: ClassVar[Durability] = "memory"

    def __init__(self) -> None:
        self._faiss = optional("faiss", "faiss", "pip install faiss-cpu")

    def create(self, place: Place) -> None:
        self._faiss.omp_set_num_threads(place.threads)
        self._normalise = place.metric == "cosine"
        metric = self._faiss.METRIC_L2 if place.metric == "l2" else self._faiss.METRIC_INNER_PRODUCT
        self._index: Any = self._new_index(place.dim, metric)
        self._parameters: Any = None

    def _new_index(self, dim: int, metric: int) -> Any:  # noqa: ANN401 - of faiss
        return self._faiss.IndexFlat(dim, metric)

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:  # noqa: ARG002 - faiss counts rows itself
        self._index.add(self._prepared(vectors))

    def _prepared(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return vectors of unit length under cosine, whose inner product it is then."""
        if not self._normalise:
            return np.ascontiguousarray(vectors)
        return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.search_batch(query[None], k)[0]
        return ids

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        _, ids = self._index.search(self._prepared(queries), k, params=self._parameters)
        return np.asarray(ids, np.int64)


class FaissHnsw(FaissFlat):
    """IndexHNSWFlat with 32 neighbours."""

    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def _new_index(self, dim: int, metric: int) -> Any:  # noqa: ANN401 - of faiss
        index = self._faiss.IndexHNSWFlat(dim, GRAPH_DEGREE, metric)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        return index

    def set_effort(self, effort: float, k: int) -> None:
        self._parameters = self._faiss.SearchParametersHNSW(efSearch=max(int(effort), k))


class FaissPq(FaissFlat):
    """IndexPQFastScan with 2 bits a dimension, the best candidates compared again exactly.

    Its codebooks are trained on the rows themselves, so that nothing is found before `build`.
    """

    live: ClassVar[bool] = False
    effort_name: ClassVar[str] = "re-rank"
    efforts: ClassVar[tuple[float, ...]] = (2.0, 5.0, 10.0, 20.0, 50.0)

    def _new_index(self, dim: int, metric: int) -> Any:  # noqa: ANN401 - of faiss
        self._waiting: list[NDArray[np.float32]] = []
        width = 2 if dim % 2 == 0 else 1
        self._codes = self._faiss.IndexPQFastScan(dim, dim // width, _CODE_BITS, metric)
        return self._faiss.IndexRefineFlat(self._codes)

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:  # noqa: ARG002
        self._waiting.append(self._prepared(vectors))

    def build(self) -> None:
        rows = np.concatenate(self._waiting)
        self._waiting.clear()
        sample = rows
        if len(rows) > _TRAINING_ROWS:
            sample = rows[np.random.default_rng(0).choice(len(rows), _TRAINING_ROWS, replace=False)]
        self._index.train(sample)
        self._index.add(rows)

    def set_effort(self, effort: float, k: int) -> None:  # noqa: ARG002 - the factor multiplies k itself
        self._parameters = self._faiss.IndexRefineSearchParameters(k_factor=effort)

    def effort_label(self, effort: float) -> str:
        return f"re-rank {effort:g}k"
