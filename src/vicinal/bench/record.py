"""What was measured, as values and as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vicinal.bench.optional import version_of
from vicinal.bench.plan import processors

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA", "EngineRecord", "Insert", "Load", "Record", "Search", "machine"]

SCHEMA: Final = "vicinal-bench/1"
"""Of the JSON. The number grows when a field changes its meaning or goes; new fields do not change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Adding all rows in batches of 10,000, then building what the engine wants built.

    memory_bytes: growth of the process by the end of all searches, None where unknown. peak_memory_bytes:
    the largest growth. disk_bytes: after closing.
    """

    rows: int
    add_s: float
    build_s: float
    memory_bytes: int | None = None
    peak_memory_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One effort on one set of queries.

    effort: as people read it; effort_value: None where an engine has only one way to search.
    n_queries: asked one at a time. clients_qps, batch_qps: queries per second, measured on the first set only.
    """

    effort: str
    effort_value: float | None
    queries: str
    n_queries: int
    recall: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    clients_qps: float | None = None
    batch_qps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """Adding rows in calls of one size to an empty collection."""

    batch_size: int
    rows: int
    seconds: float
    rows_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """One engine; with `error`, in one line, what was measured before it failed."""

    name: str
    version: str | None
    durability: str | None = None
    live: bool | None = None
    load: Load | None = None
    searches: tuple[Search, ...] = ()
    inserts: tuple[Insert, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A whole run."""

    dataset: Mapping[str, object]
    plan: Mapping[str, object]
    engines: tuple[EngineRecord, ...]
    machine: Mapping[str, object]
    versions: Mapping[str, str | None]
    created: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return everything as JSON has it."""
        return {"schema": SCHEMA, **asdict(self)}

    def write(self, path: Path) -> None:
        """Write JSON to a file, replacing it at once, so that it is never half of one."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            part.write_text(f"{text}\n", encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def machine() -> dict[str, object]:
    """Return what figures depend on and is no secret: processor, cores, memory, system."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": processors(),
        "memory_bytes": _memory_bytes(),
        "system": platform.system(),
        "release": platform.release(),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of Python, vicinal and NumPy."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "vicinal": version_of("vicinal"),
        "numpy": version_of("numpy"),
    }


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
