"""DuckDB with its extension vss: an HNSW index over a column of arrays.

The extension is loaded, never downloaded: installing it is the user's decision.
"""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import EF, EF_CONSTRUCTION, GRAPH_DEGREE, Durability, Engine, Place, metric_name
from vicinal.bench.optional import optional
from vicinal.errors import MissingExtra

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FUNCTIONS: dict[str, str] = {
    "cosine": "array_cosine_distance",
    "l2sq": "array_distance",
    "ip": "array_negative_inner_product",
}


class DuckdbVss(Engine):
    """A database file; the index is kept in it by an option that vss calls experimental."""

    durability: ClassVar[Durability] = "synced"
    effort_name: ClassVar[str] = "ef"
    efforts: ClassVar[tuple[float, ...]] = EF

    def __init__(self) -> None:
        self._duckdb = optional("duckdb", "duckdb-vss", "pip install duckdb")
        self._pa = optional("pyarrow", "duckdb-vss", "pip install pyarrow")

    def create(self, place: Place) -> None:
        metric = metric_name("duckdb-vss", {"cosine": "cosine", "l2": "l2sq", "dot": "ip"}, place.metric)
        self._database: Any = self._duckdb.connect(str(place.folder / "bench.duckdb"))
        try:
            self._database.execute("load vss")
        except self._duckdb.Error as error:
            message = "duckdb-vss needs the extension vss: python -c \"import duckdb; duckdb.sql('install vss')\""
            raise MissingExtra(message) from error
        self._database.execute(f"set threads = {place.threads}")
        self._database.execute("set hnsw_enable_experimental_persistence = true")
        self._database.execute(f"create table bench (id bigint, vector float[{place.dim}])")
        self._dim, self._metric = place.dim, metric
        self._own = threading.local()
        self._ef = 64

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        flat = self._pa.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = {
            "id": self._pa.array(np.arange(start, start + len(vectors))),
            "vector": self._pa.FixedSizeListArray.from_arrays(flat, self._dim),
        }
        self._database.register("rows", self._pa.table(columns))
        self._database.execute("insert into bench select id, vector from rows")
        self._database.unregister("rows")

    def build(self) -> None:
        self._database.execute(
            f"create index graph on bench using hnsw (vector) "
            f"with (metric = '{self._metric}', ef_construction = {EF_CONSTRUCTION}, m = {GRAPH_DEGREE})"
        )

    def set_effort(self, effort: float, k: int) -> None:
        self._ef = max(int(effort), k)

    def _cursor(self) -> Any:  # noqa: ANN401 - of duckdb
        """Return this thread's cursor with the effort set: cursors are connections of their own."""
        if getattr(self._own, "ef", None) != self._ef:
            self._own.cursor = self._database.cursor()
            self._own.cursor.execute(f"set hnsw_ef_search = {self._ef}")
            self._own.ef = self._ef
        return self._own.cursor

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        # The index is used for a constant only, so that the vector stands in the text of the query.
        constant = f"[{','.join(map(repr, query.tolist()))}]::float[{self._dim}]"
        sql = f"select id from bench order by {_FUNCTIONS[self._metric]}(vector, {constant}) limit {k:d}"  # noqa: S608
        return np.array([row for (row,) in self._cursor().execute(sql).fetchall()], np.int64)

    def close(self) -> None:
        self._database.close()
