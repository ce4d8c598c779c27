"""What parent and child hand each other: files in one folder, and lines of JSON on a pipe.

Nothing is pickled, and the child starts from its own module: it neither runs the caller's program again nor
inherits anything that was imported there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vicinal.bench.dataset import Metric

__all__ = ["Job", "found_file", "queries_file", "rows_file"]

_JOB = "job.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One engine to measure; `efforts` None means the engine's own."""

    engine: str
    data: str
    folder: str
    metric: Metric
    k: int
    threads: int
    seconds: float
    batch_sizes: tuple[int, ...]
    query_sets: tuple[str, ...]
    efforts: tuple[float, ...] | None = None

    def write(self) -> Path:
        """Write it into its folder; return the file."""
        path = Path(self.folder) / _JOB
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        """Return the job of a file."""
        given = json.loads(path.read_text(encoding="utf-8"))
        for name in ("batch_sizes", "query_sets", "efforts"):
            given[name] = None if given[name] is None else tuple(given[name])
        return cls(**given)


def rows_file(data: Path) -> Path:
    """Return where the vectors are."""
    return data / "rows.npy"


def queries_file(data: Path, at: int) -> Path:
    """Return where a set of queries is."""
    return data / f"queries-{at}.npy"


def found_file(folder: Path, effort: int, queries: int) -> Path:
    """Return where the ids found with an effort for a set of queries go."""
    return folder / f"found-{effort}-{queries}.npy"
