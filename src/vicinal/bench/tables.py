"""A record as rows of tables, for whoever prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vicinal.bench.record import EngineRecord, Record, Search

__all__ = ["Cells", "insert_table", "load_table", "search_table"]

Cells = tuple[list[str], list[list[str]]]
"""The names of the columns, and the cells of each row."""

_FOUND = {True: "at once", False: "after build", None: ""}
_KEPT = {"memory": "in memory", "file": "in files", "synced": "synced", None: ""}


def search_table(record: Record) -> Cells:
    """Return one row per engine, effort and set of queries; one with the error for what failed."""
    threads = record.plan["threads"]
    several = len({each.queries for engine in record.engines for each in engine.searches}) > 1
    names = ["engine", "effort", "queries", "recall", "p50 ms", "p95 ms", "p99 ms", f"q/s x{threads}", "q/s batch"]
    rows = []
    for engine in record.engines:
        rows += [_search_row(engine, each) for each in engine.searches]
        if engine.error is not None:
            rows.append([engine.name, f"failed: {engine.error}", *[""] * (len(names) - 2)])
    if not several:
        names = [name for name in names if name != "queries"]
        rows = [[*row[:2], *row[3:]] for row in rows]
    return names, rows


def _search_row(engine: EngineRecord, search: Search) -> list[str]:
    return [
        engine.name,
        search.effort,
        search.queries,
        f"{search.recall:.4f}",
        *(f"{value:.3f}" for value in (search.p50_ms, search.p95_ms, search.p99_ms)),
        _count(search.clients_qps),
        _count(search.batch_qps),
    ]


def load_table(record: Record) -> Cells:
    """Return one row per engine: what loading all rows took, and what they occupy."""
    names = ["engine", "version", "add s", "build s", "memory MB", "peak MB", "disk MB"]
    rows = []
    for engine in record.engines:
        load = engine.load
        if load is not None:
            sizes = [_megabytes(size) for size in (load.memory_bytes, load.peak_memory_bytes, load.disk_bytes)]
            rows.append([engine.name, engine.version or "", f"{load.add_s:.2f}", f"{load.build_s:.2f}", *sizes])
    return names, rows


def insert_table(record: Record) -> Cells:
    """Return one row per engine: rows per second by the size of batches, and what a returned `add` means."""
    sizes = sorted({each.batch_size for engine in record.engines for each in engine.inserts})
    names = ["engine", *(f"by {size:,}" for size in sizes), "rows are", "found"]
    rows = []
    for engine in record.engines:
        speeds = {each.batch_size: each.rows_per_s for each in engine.inserts}
        if speeds:
            found = [_count(speeds.get(size)) for size in sizes]
            rows.append([engine.name, *found, _KEPT.get(engine.durability, ""), _FOUND[engine.live]])
    return names, rows


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f}"
