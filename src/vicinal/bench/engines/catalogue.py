"""Which engines there are, what each needs, and the line that installs it."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vicinal.bench.optional import is_installed, version_of
from vicinal.errors import InvalidInput, MissingExtra, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicinal.bench.engines.protocol import Engine

__all__ = ["DEFAULT", "Entry", "adapter", "chosen", "entries", "named"]

DEFAULT = ("vicinal", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An engine that can be measured.

    family: a name that stands for several entries. adapter: module in this room and class.
    needs: modules that must be there. distribution: whose version is recorded. install: the line that brings it.
    """

    name: str
    family: str
    adapter: str
    what: str
    needs: tuple[str, ...] = ()
    distribution: str = ""
    install: str = ""

    @property
    def installed(self) -> bool:
        """Whether everything it needs can be found."""
        return is_installed(self.needs)

    @property
    def version(self) -> str | None:
        """The version of its distribution, or None where it is not installed."""
        return version_of(self.distribution)


def _entry(name: str, adapter: str, what: str, needs: str, distribution: str, install: str = "") -> Entry:
    """Return an entry whose family is the name up to the first variant."""
    family = next((known for known in ("faiss", "qdrant") if name.startswith(f"{known}-")), name)
    return Entry(
        name=name,
        family=family,
        adapter=adapter,
        what=what,
        needs=tuple(needs.split()),
        distribution=distribution,
        install=install or f"pip install {distribution}",
    )


_VSS = "pip install duckdb pyarrow && python -c \"import duckdb; duckdb.sql('install vss')\""
_ENTRIES = (
    _entry("vicinal", "vicinal_database:Vicinal", "this database, at recall targets and exact", "", "vicinal"),
    _entry("numpy", "numpy_exact:NumpyExact", "matrix products over all rows, exact", "", "numpy"),
    _entry("faiss-flat", "faiss_indexes:FaissFlat", "all rows, exact", "faiss", "faiss-cpu"),
    _entry("faiss-hnsw", "faiss_indexes:FaissHnsw", "graph HNSW32", "faiss", "faiss-cpu"),
    _entry("faiss-pq", "faiss_indexes:FaissPq", "scan of 4-bit codes (FastScan), re-ranked", "faiss", "faiss-cpu"),
    _entry("hnswlib", "graph_libraries:Hnswlib", "graph HNSW", "hnswlib", "hnswlib"),
    _entry("usearch", "graph_libraries:Usearch", "graph HNSW", "usearch", "usearch"),
    _entry("sqlite-vec", "sqlite_vec_table:SqliteVec", "vec0 tables, exact", "apsw sqlite_vec", "sqlite-vec"),
    _entry("zvec", "zvec_collection:Zvec", "embedded database, graph HNSW", "zvec", "zvec"),
    _entry("chromadb", "chroma_collection:Chroma", "embedded database, graph HNSW", "chromadb", "chromadb"),
    _entry("lancedb", "lance_table:Lance", "embedded database, IVF_HNSW_SQ", "lancedb pyarrow", "lancedb"),
    _entry("duckdb-vss", "duckdb_table:DuckdbVss", "DuckDB with HNSW (vss)", "duckdb pyarrow", "duckdb", _VSS),
    _entry(
        "milvus-lite", "milvus_collection:MilvusLite", "embedded database, graph HNSW", "pymilvus milvus_lite",
        "milvus-lite", "pip install pymilvus milvus-lite",
    ),
    _entry(
        "qdrant-local", "qdrant_collections:QdrantLocal", "the client's local mode, exact", "qdrant_client",
        "qdrant-client",
    ),
    _entry(
        "qdrant-edge", "qdrant_collections:QdrantEdge", "embedded shard, graph HNSW", "qdrant_edge", "qdrant-edge-py",
    ),
)  # fmt: skip


def entries() -> tuple[Entry, ...]:
    """Return all engines, installed or not."""
    return _ENTRIES


def named(name: str) -> Entry:
    """Return an engine by its own name."""
    return next(entry for entry in _ENTRIES if entry.name == name)


def chosen(names: Sequence[str] | None = None) -> tuple[Entry, ...]:
    """Return engines by name or family in the order asked for, `all` for every installed one; each once.

    Raises InvalidInput for an unknown name, MissingExtra with the install line for one that is not there.
    """
    found: dict[str, Entry] = {}
    for name in names or DEFAULT:
        meant = [entry for entry in _ENTRIES if name in (entry.name, entry.family)]
        if name == "all":
            meant = [entry for entry in _ENTRIES if entry.installed]
        if not meant:
            known = [*dict.fromkeys(entry.family for entry in _ENTRIES), *(entry.name for entry in _ENTRIES)]
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else "'vicinal bench --list' shows them"
            message = f"no engine {shorten(name)}; {hint}"
            raise InvalidInput(message)
        for entry in meant:
            if not entry.installed:
                message = f"{entry.name} is not installed: {entry.install}"
                raise MissingExtra(message)
            found[entry.name] = entry
    return tuple(found.values())


def adapter(entry: Entry) -> Engine:
    """Return a new adapter, its engine imported."""
    module, _, kind = entry.adapter.partition(":")
    return cast("Engine", getattr(importlib.import_module(f"vicinal.bench.engines.{module}"), kind)())
