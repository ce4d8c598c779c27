"""What the benchmarks share: data, timing, and results as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
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


def write(path: Path | None, results: list[Results], **about: Any) -> None:
    """Write several results as one JSON file, each under its title."""
    if path:
        about |= {"cpu_count": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
        parts = [{"title": each.title, "rows": each.rows} for each in results]
        path.write_text(json.dumps({"about": about, "parts": parts}, indent=1))


def in_turns(
    calls: list[Callable[[int], Any]],
    numbers: Iterable[int],
    chunk: int = 25,
    warm: int = 2,
    processor: list[list[float]] | None = None,
) -> list[list[float]]:
    """Return the sorted milliseconds of each call over the query numbers, the calls taking turns by `chunk`.

    The speed of a machine drifts: what is compared is measured side by side. `warm` calls after each turn do
    not count, since the other's data fill the processor's cache. Into `processor` go the sorted milliseconds
    of processor time of all threads, which other programs disturb less.
    """
    every = list(numbers)
    times: list[list[float]] = [[] for _ in calls]
    busy: list[list[float]] = [[] for _ in calls]
    for start in range(0, len(every), chunk):
        part = every[start : start + chunk]
        for call, mine, used in zip(calls, times, busy, strict=True):
            for number in part[:warm]:
                call(number)
            for number in part:
                started, before = time.perf_counter(), time.process_time()
                call(number)
                after, ended = time.process_time(), time.perf_counter()
                mine.append((ended - started) * 1000)
                used.append((after - before) * 1000)
    if processor is not None:
        processor += [sorted(used) for used in busy]
    return [sorted(mine) for mine in times]


def exact_distances(query: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Return cosine or Euclidean distances in float64."""
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return np.linalg.norm(rows - query, axis=1)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1.0 - (rows @ query) / np.where(lengths > 0, lengths, 1.0)


Allowed = Callable[[slice, slice], np.ndarray]
"""From slices of queries and of rows to what may be found, broadcast to (queries, rows)."""


class Truth:
    """The true distances (n, k) of the k nearest, by NumPy: float32 products, checked again in float64.

    Infinite where fewer rows may be found. `vectors` are kept, not copied.
    """

    SPARE = 32

    def __init__(
        self, vectors: np.ndarray, queries: np.ndarray, k: int, metric: str = "cosine", allowed: Allowed | None = None
    ) -> None:
        self.vectors, self.queries, self.metric = vectors, queries, metric
        self.distances = np.full((len(queries), k), np.inf)
        squares = np.einsum("ij,ij->i", vectors, vectors)
        scale = 1.0 / np.sqrt(np.maximum(squares, 1e-30))
        for start in range(0, len(queries), 256):
            asked = slice(start, min(len(queries), start + 256))
            for number, near in enumerate(self._candidates(asked, k + self.SPARE, squares, scale, allowed), start):
                exact = np.sort(exact_distances(queries[number], vectors[near], metric))[:k]
                self.distances[number, : len(exact)] = exact

    def _candidates(
        self, asked: slice, most: int, squares: np.ndarray, scale: np.ndarray, allowed: Allowed | None
    ) -> list[np.ndarray]:
        queries = self.queries[asked]
        near = [np.empty(0, np.int64)] * len(queries)
        kept = [np.empty(0, np.float32)] * len(queries)
        for start in range(0, len(self.vectors), 65_536):
            rows = slice(start, min(len(self.vectors), start + 65_536))
            values = queries @ self.vectors[rows].T
            values = squares[rows] - 2.0 * values if self.metric == "l2" else -values * scale[rows]
            if allowed is not None:
                values[~np.broadcast_to(allowed(asked, rows), values.shape)] = np.inf
            for number, row in enumerate(values):
                limit = kept[number].max() if len(kept[number]) == most else np.inf
                picked = np.flatnonzero(row < limit)
                if not len(picked):
                    continue
                together = np.concatenate([kept[number], row[picked]])
                positions = np.concatenate([near[number], picked + start])
                if len(together) > most:
                    best = np.argpartition(together, most - 1)[:most]
                    together, positions = together[best], positions[best]
                kept[number], near[number] = together, positions
        return near

    def limits(self, k: int) -> np.ndarray:
        """Return the distance (n,) up to which a row is one of the k nearest."""
        finite = np.isfinite(self.distances[:, :k]).sum(axis=1)
        last = self.distances[np.arange(len(self.distances)), np.maximum(finite, 1) - 1]
        return np.where(finite > 0, last * (1 + 1e-6) + 1e-12, -np.inf)

    def recall(self, answers: Iterable[np.ndarray], k: int, numbers: Iterable[int] | None = None) -> np.ndarray:
        """Return the share of the k nearest among each answer's rows; 1 where there was nothing to find.

        `numbers` are those of the queries answered; distances are computed here, whatever the engine reported.
        """
        limits, shares = self.limits(k), []
        for number, answer in zip(numbers if numbers is not None else range(len(self.queries)), answers, strict=False):
            due = int(np.isfinite(self.distances[number, :k]).sum())
            rows = np.unique(np.asarray(answer, np.int64))
            exact = exact_distances(self.queries[number], self.vectors[rows[rows >= 0]], self.metric)
            shares.append(min(1.0, float((exact <= limits[number]).sum()) / due) if due else 1.0)
        return np.array(shares)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
