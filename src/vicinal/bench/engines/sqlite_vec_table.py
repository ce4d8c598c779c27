"""sqlite-vec: a vec0 table in an SQLite file, read by one connection per thread."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import Durability, Engine, Place, metric_name
from vicinal.bench.optional import optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SELECT = "select rowid from bench where vector match ? and k = ?"


class SqliteVec(Engine):
    """Exact, with the journal and the durability that vicinal has."""

    durability: ClassVar[Durability] = "synced"

    def __init__(self) -> None:
        self._apsw = optional("apsw", "sqlite-vec", "pip install apsw")
        self._extension = optional("sqlite_vec", "sqlite-vec", "pip install sqlite-vec")

    def create(self, place: Place) -> None:
        metric = metric_name("sqlite-vec", {"cosine": "cosine", "l2": "l2"}, place.metric)
        self._path = str(place.folder / "bench.db")
        self._own = threading.local()
        self._opened: list[Any] = []
        writer = self._connection()
        writer.execute("pragma journal_mode = wal").fetchall()
        writer.execute("pragma synchronous = full").fetchall()
        writer.execute(f"create virtual table bench using vec0(vector float[{place.dim}] distance_metric={metric})")

    def _connection(self) -> Any:  # noqa: ANN401 - of apsw
        """Return this thread's connection: apsw refuses two threads on one."""
        found = getattr(self._own, "connection", None)
        if found is None:
            found = self._apsw.Connection(self._path)
            found.enable_load_extension(True)
            found.load_extension(self._extension.loadable_path())
            self._own.connection = found
            self._opened.append(found)
        return found

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        connection = self._connection()
        with connection:
            connection.executemany(
                "insert into bench(rowid, vector) values (?, ?)",
                ((start + at, vector.tobytes()) for at, vector in enumerate(vectors)),
            )

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found = self._connection().execute(_SELECT, (query.tobytes(), k)).fetchall()
        return np.array([row for (row,) in found], np.int64)

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
