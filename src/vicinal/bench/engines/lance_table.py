"""LanceDB: a table in a folder, with graphs over scalar-quantised vectors inside IVF partitions."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import EF, EF_CONSTRUCTION, GRAPH_DEGREE, Durability, Engine, Place, metric_name
from vicinal.bench.optional import optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PARTITION_ROWS = 1 << 20  # as LanceDB recommends for this kind of index
_MIN_INDEX_ROWS = 256
_REFINE = 2  # candidates per result whose float vectors are compared again


class Lance(Engine):
    """Rows that the index does not cover are compared one by one."""

    durability: ClassVar[Durability] = "file"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._lancedb = optional("lancedb", "lancedb", "pip install lancedb")
        self._pa = optional("pyarrow", "lancedb", "pip install pyarrow")

    def create(self, place: Place) -> None:
        pa = self._pa
        self._metric = metric_name("lancedb", {"cosine": "cosine", "l2": "l2", "dot": "dot"}, place.metric)
        self._schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), place.dim))])
        database = self._lancedb.connect(str(place.folder / "lance"))
        self._rows: Any = database.create_table("bench", schema=self._schema)
        self._partitions = max(1, place.rows // _PARTITION_ROWS)
        self._ef: int | None = None

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        flat = self._pa.array(np.ascontiguousarray(vectors).reshape(-1))
        lists = self._pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        ids = self._pa.array(np.arange(start, start + len(vectors)))
        self._rows.add(self._pa.Table.from_arrays([ids, lists], schema=self._schema))

    def build(self) -> None:
        self._rows.optimize()
        if self._rows.count_rows() >= _MIN_INDEX_ROWS:
            self._rows.create_index(
                metric=self._metric,
                vector_column_name="vector",
                index_type="IVF_HNSW_SQ",
                num_partitions=self._partitions,
                m=GRAPH_DEGREE,
                ef_construction=EF_CONSTRUCTION,
            )

    def set_effort(self, effort: float, k: int) -> None:
        self._ef = max(int(effort), k * _REFINE)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        asked = self._rows.search(query, vector_column_name="vector").distance_type(self._metric).limit(k)
        if self._ef is not None:
            asked = asked.nprobes(self._partitions).ef(self._ef).refine_factor(_REFINE)
        return np.asarray(asked.select(["id"]).to_arrow()["id"].to_numpy(), np.int64)
