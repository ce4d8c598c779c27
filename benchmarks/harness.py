"""What the benchmarks share: data, timing, and results as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


@dataclass
class Data:
    """Vectors (n, dim) with metadata `{source, nwords}` per row, and queries."""

    vectors: np.ndarray
    queries: np.ndarray
    source: list[int]
    nwords: list[int]
    origin: str

    def metadata(self, start: int, end: int) -> list[dict[str, int]]:
        rows = zip(self.source[start:end], self.nwords[start:end], strict=True)
        return [{"source": source, "nwords": nwords} for source, nwords in rows]


def options(description: str, rows: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--vectors", type=Path, help="a .npy file of shape (n, dim); default: generated clusters")
    parser.add_argument("--queries", type=Path, help="a .npy file of shape (n, dim)")
    parser.add_argument("--attributes", type=Path, help="a .npz file with `source` and `nwords`")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--folder", type=Path, help="where database files go; default: a temporary folder")
    return parser


def load(arguments: argparse.Namespace, dim: int = 256) -> Data:
    n, rng = arguments.rows, np.random.default_rng(7)
    if arguments.vectors:
        vectors = np.array(np.load(arguments.vectors, mmap_mode="r", allow_pickle=False)[:n])
        origin = arguments.vectors.name
    else:
        centres = rng.standard_normal((1000, dim), np.float32)
        vectors = centres[rng.integers(0, 1000, n)] + 0.7 * rng.standard_normal((n, dim), np.float32)
        origin = "generated: 1,000 Gaussian clusters"
    if arguments.queries:
        queries = np.load(arguments.queries, allow_pickle=False)
    else:
        queries = vectors[rng.integers(0, n, 1000)] + 0.3 * rng.standard_normal((1000, vectors.shape[1]), np.float32)
    if arguments.attributes:
        stored = np.load(arguments.attributes, allow_pickle=False)
        source, nwords = stored["source"][:n].tolist(), stored["nwords"][:n].tolist()
    else:
        source, nwords = rng.zipf(1.8, n).clip(max=20).tolist(), rng.integers(3, 60, n).tolist()
    return Data(vectors, queries, source, nwords, origin)


@contextmanager
def folder(arguments: argparse.Namespace) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="vicinal-bench-") as path:
        yield Path(path)


def milliseconds(call: Callable[[], Any], n: int, warm: int = 2) -> list[float]:
    """Return the times of `n` calls, sorted."""
    for _ in range(warm):
        call()
    times = []
    for _ in range(n):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)


def p50(times: list[float]) -> float:
    return times[len(times) // 2]


@dataclass
class Results:
    """Rows of figures, each named; printed as a table, written as JSON."""

    title: str
    columns: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        self.rows.append(row)
        print("  ", "  ".join(f"{key}={_cell(value)}" for key, value in row.items()), flush=True)

    def show(self, path: Path | None, **about: Any) -> None:
        table = Table(title=self.title)
        for column in self.columns:
            table.add_column(column, justify="left" if column == self.columns[0] else "right")
        for row in self.rows:
            table.add_row(*(_cell(row.get(column, "")) for column in self.columns))
        Console(width=150).print(table)
        if path:
            about |= {
                "cpu_count": os.cpu_count(),
                "python": platform.python_version(),
                "machine": platform.machine(),
            }
            path.write_text(json.dumps({"title": self.title, "about": about, "rows": self.rows}, indent=1))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
