"""What approximate search is measured beside: bare faiss scans and graphs, and zvec; and the collection itself."""

from __future__ import annotations

import time
from pathlib import Path

import faiss
import numpy as np
from harness import Data, Truth

import vicinal

BATCH = 1000
UNIFORM = 1_000_000
"""The metadata field `uniform` is below it."""
DEEPEST = 4096
EFFORTS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
LINKS, EF_CONSTRUCTION = 32, 100
ZVEC_LINKS, ZVEC_EF_CONSTRUCTION = 16, 200


Known = dict[tuple[int, int, int], float]
"""Recall by truth, k and effort."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)


class Scan:
    """A flat faiss scan of 4-bit product codes, candidates compared by NumPy; rows of unit length, or l2."""

    def __init__(self, rows: np.ndarray, width: int, *, l2: bool = False) -> None:
        self.name = f"PQ{rows.shape[1] // width}x4fs"
        self.rows, self.l2 = rows, l2
        faiss.omp_set_num_threads(1)
        metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
        started = time.perf_counter()
        self.index = faiss.IndexPQFastScan(rows.shape[1], rows.shape[1] // width, 4, metric)
        self.index.train(rows[np.random.default_rng(1).permutation(len(rows))[:65_536]])
        self.index.add(rows)
        self.seconds = time.perf_counter() - started
        self._curves: dict[tuple[int, int], np.ndarray] = {}

    def _ranked(self, query: np.ndarray, near: np.ndarray, k: int) -> np.ndarray:
        rows = self.rows[near]
        if self.l2:
            rows = rows - query
            values = np.vecdot(rows, rows)
        else:
            values = -(rows @ query)
        best = np.argpartition(values, k - 1)[:k] if k < len(values) else np.arange(len(values))
        return near[best[np.argsort(values[best])]]

    def one(self, query: np.ndarray, k: int, depth: int) -> np.ndarray:
        return self._ranked(query, self.index.search(query[None], depth)[1][0], k)

    def batch(self, queries: np.ndarray, k: int, depth: int) -> list[np.ndarray]:
        found = self.index.search(queries, depth)[1]
        return [self._ranked(query, near, k) for query, near in zip(queries, found, strict=True)]

    def effort_for(self, queries: np.ndarray, truth: Truth, k: int, recall: float) -> int:
        """Return how many candidates reach a recall, `DEEPEST` where none do; `queries` are the truth's, as units."""
        key = id(truth), k
        if key not in self._curves:
            self._curves[key] = self._curve(queries, truth, k)
        return min(len(self._curves[key]), int(np.searchsorted(self._curves[key], recall - 1e-9)) + 1)

    def _curve(self, queries: np.ndarray, truth: Truth, k: int) -> np.ndarray:
        """Return the recall at each depth; float32 with some tolerance is enough to choose one."""
        deepest = min(DEEPEST, len(self.rows))
        total, limits = np.zeros(deepest), truth.limits(k)
        for number, query in enumerate(queries):
            rows = self.rows[self.index.search(query[None], deepest)[1][0]]
            distances = np.linalg.norm(rows - query, axis=1) if self.l2 else 1.0 - rows @ query
            total += np.minimum(np.cumsum(distances <= limits[number] + 1e-6 * max(1.0, limits[number])), k) / k
        curve = np.maximum.accumulate(total / len(queries))
        curve[: k - 1] = 0.0
        return curve


class Graph:
    """faiss HNSW over the vectors, one thread per query."""

    def __init__(self, rows: np.ndarray, *, threads: int = 2, l2: bool = False) -> None:
        self.name = f"HNSW{LINKS}"
        self.index = faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        faiss.omp_set_num_threads(threads)
        started = time.perf_counter()
        self.index.add(rows)
        self.seconds = time.perf_counter() - started
        faiss.omp_set_num_threads(1)
        self._known: Known = {}

    def one(self, query: np.ndarray, k: int, effort: int) -> np.ndarray:
        self.index.hnsw.efSearch = effort
        return self.index.search(query[None], k)[1][0]

    def effort_for(self, queries: np.ndarray, truth: Truth, k: int, recall: float) -> int:
        return _least_effort(self, self._known, queries, truth, k, recall)


class Zvec:
    """zvec's HNSW, built by its `optimize`; one thread per query."""

    def __init__(self, rows: np.ndarray, path: Path, uniform: np.ndarray) -> None:
        import zvec

        self.where: str | None = None
        self.name = f"zvec {zvec.__version__} HNSW{ZVEC_LINKS}"
        self._zvec = zvec
        parameters = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.COSINE, m=ZVEC_LINKS, ef_construction=ZVEC_EF_CONSTRUCTION
        )
        vectors = zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, rows.shape[1], index_param=parameters)
        field = zvec.FieldSchema(
            "uniform", zvec.DataType.INT64, index_param=zvec.InvertIndexParam(enable_range_optimization=True)
        )
        self.collection = zvec.create_and_open(
            str(path), zvec.CollectionSchema("rows", fields=[field], vectors=vectors)
        )
        started = time.perf_counter()
        for start in range(0, len(rows), BATCH):
            part = enumerate(rows[start : start + BATCH], start)
            self.collection.insert(
                [
                    zvec.Doc(str(row), vectors={"v": vector}, fields={"uniform": int(uniform[row])})
                    for row, vector in part
                ]
            )
        self.collection.optimize()
        self.seconds = time.perf_counter() - started
        self._known: Known = {}

    def one(self, query: np.ndarray, k: int, effort: int) -> np.ndarray:
        parameters = self._zvec.HnswQueryParam(ef=effort)
        asked = self._zvec.Query("v", vector=query, param=parameters)
        found = self.collection.query(asked, topk=k, filter=self.where, output_fields=[])
        return np.array([int(row.id) for row in found], np.int64)

    def effort_for(self, queries: np.ndarray, truth: Truth, k: int, recall: float) -> int:
        return _least_effort(self, self._known, queries, truth, k, recall)

    def close(self) -> None:
        self.collection.destroy()


def _least_effort(graph: Graph | Zvec, known: Known, queries: np.ndarray, truth: Truth, k: int, recall: float) -> int:
    """Return the least effort that finds so much, the greatest where none does."""
    for effort in [each for each in EFFORTS if each >= k]:
        if (id(truth), k, effort) not in known:
            found = truth.recall((graph.one(query, k, effort) for query in queries), k)
            known[id(truth), k, effort] = float(found.mean())
        if known[id(truth), k, effort] >= recall:
            break
    return effort


class Rows:
    """A collection of the first n vectors in a file; row i has the id i and metadata `uniform` and `cluster`."""

    def __init__(self, path: Path, data: Data, n: int, clusters: int) -> None:
        self.path, self.n = path, n
        self.vectors = data.vectors[:n]
        self.uniform = np.random.default_rng(3).integers(0, UNIFORM, n)
        sample = np.random.default_rng(4).permutation(n)[: max(20_000, 256 * clusters)]
        means = faiss.Kmeans(data.vectors.shape[1], clusters, niter=8, spherical=True, seed=1)
        means.train(unit(self.vectors[sample]))
        self.centroids = means.centroids
        parts = range(0, n, 65_536)
        self.cluster = np.concatenate([(self.vectors[at : at + 65_536] @ self.centroids.T).argmax(1) for at in parts])

    def connect(self, threads: int = 1, *, maintenance: bool = False) -> vicinal.Database:
        """Open the file; without maintenance, which would go on beside what is measured."""
        return vicinal.connect(self.path, threads=threads, maintenance=maintenance)

    def metadata(self, start: int, end: int) -> list[dict[str, int]]:
        pairs = zip(self.uniform[start:end].tolist(), self.cluster[start:end].tolist(), strict=True)
        return [{"uniform": uniform, "cluster": cluster} for uniform, cluster in pairs]

    def fill(self, db: vicinal.Database) -> list[float]:
        """Add all rows; return the seconds of each batch."""
        docs = db.collection("rows", dim=self.vectors.shape[1])
        times = []
        for start in range(0, self.n, BATCH):
            end = min(self.n, start + BATCH)
            ids, metadata = np.arange(start, end), self.metadata(start, end)
            started = time.perf_counter()
            docs.add(ids=ids, vectors=self.vectors[start:end], metadata=metadata)
            times.append(time.perf_counter() - started)
        return times

    def filled(self) -> Rows:
        """Fill the file unless an earlier part did; what the background would have done in seconds is done."""
        if not self.path.exists():
            with self.connect() as db:
                self.fill(db)
        with self.connect() as db:
            db.compact()
        return self

    def remove(self) -> None:
        for file in self.path.parent.glob(self.path.name + "*"):
            file.unlink()
