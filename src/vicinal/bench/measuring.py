"""The measurements themselves: how an engine is timed.

Each has a limit in seconds, so that slow engines are measured on fewer queries or rows instead of for hours.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vicinal.bench.engines.protocol import padded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from vicinal.bench.engines.protocol import Engine

__all__ = ["Latency", "Rows", "batch_qps", "clients_qps", "insert_all", "insert_some", "latency"]

MIN_QUERIES = 10
WARM_UP = 5
LOAD_BATCH = 10_000
MIN_INSERT_ROWS = 500
INSERT_CALLS = 20
MAX_INSERT_ROWS = 100_000


class Rows:
    """The vectors in a .npy file, read in blocks and not kept, so that they do not count as an engine's memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.n, self.dim = np.load(path, mmap_mode="r").shape

    def block(self, start: int, end: int) -> NDArray[np.float32]:
        """Return a copy of rows `start` to `end`; the file is mapped no longer than for that."""
        return np.array(np.load(self._path, mmap_mode="r")[start:end])


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
    """Seconds of each query (n,), and the ids found (n, k)."""

    seconds: NDArray[np.float64]
    ids: NDArray[np.int64]

    def percentile_ms(self, share: float) -> float:
        """Return the milliseconds within which this share (0 to 100) of the queries was answered."""
        return float(np.percentile(self.seconds, share)) * 1000


def insert_all(engine: Engine, rows: Rows, progress: Callable[[float], None]) -> float:
    """Add all rows in large batches; return the seconds spent in the engine."""
    spent = 0.0
    for start in range(0, rows.n, LOAD_BATCH):
        block = rows.block(start, start + LOAD_BATCH)
        begin = time.perf_counter()
        engine.add(start, block)
        spent += time.perf_counter() - begin
        progress((start + len(block)) / rows.n)
    return spent


def insert_some(engine: Engine, rows: Rows, batch_size: int, seconds: float) -> tuple[int, float]:
    """Add rows in batches of one size; return how many, and the seconds until they could be found.

    As many rows as make 20 calls, at least 500, at most 100,000, or what is added within the limit.
    """
    n = min(rows.n, MAX_INSERT_ROWS, max(MIN_INSERT_ROWS, INSERT_CALLS * batch_size))
    n -= n % batch_size
    spent, done = 0.0, 0
    block, first = rows.block(0, 0), 0
    while done < n and spent < seconds:
        if done + batch_size > first + len(block):
            first, block = done, rows.block(done, min(n, done + max(LOAD_BATCH, batch_size)))
        part = block[done - first : done - first + batch_size]
        begin = time.perf_counter()
        engine.add(done, part)
        spent += time.perf_counter() - begin
        done += batch_size
    if not engine.live:
        begin = time.perf_counter()
        engine.build()
        spent += time.perf_counter() - begin
    return done, spent


def latency(engine: Engine, queries: NDArray[np.float32], k: int, seconds: float) -> Latency:
    """Ask one query at a time, each once, until all are answered or the time is up; at least ten."""
    for query in queries[-WARM_UP:]:
        engine.search(query, k)
    gc.collect()
    spent: list[float] = []
    found: list[NDArray[np.int64]] = []
    end = time.perf_counter() + seconds
    for query in queries:
        begin = time.perf_counter()
        ids = engine.search(query, k)
        now = time.perf_counter()
        spent.append(now - begin)
        found.append(ids)
        if now > end and len(spent) >= MIN_QUERIES:
            break
    return Latency(np.array(spent), padded(found, k))


def clients_qps(engine: Engine, queries: NDArray[np.float32], k: int, clients: int, seconds: float) -> float:
    """Return queries per second when several threads ask at the same time, over and over until the time is up.

    Python's threads share one interpreter: an engine that spends its time in Python gains nothing by them.
    """
    turn = itertools.count()  # its next() is atomic
    answered = [0] * clients
    failures: list[BaseException] = []
    start = threading.Barrier(clients + 1)
    stop = threading.Event()

    def ask(client: int) -> None:
        try:
            engine.search(queries[client % len(queries)], k)  # opens what a thread needs of its own
            start.wait()
            while not stop.is_set():
                engine.search(queries[next(turn) % len(queries)], k)
                answered[client] += 1
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that measures
            failures.append(error)
            start.abort()
            stop.set()

    threads = [threading.Thread(target=ask, args=(client,), daemon=True) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        start.wait()
    except threading.BrokenBarrierError:
        raise failures[0] from None
    begin = time.perf_counter()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(answered) / (time.perf_counter() - begin)


def batch_qps(engine: Engine, queries: NDArray[np.float32], k: int, seconds: float) -> float:
    """Return queries per second when they are given all at once, or as many as fit into the time.

    The median of as many calls as fit.
    """
    few = min(len(queries), MIN_QUERIES)
    n = min(len(queries), max(few, int(seconds * few / _seconds(engine, queries[:few], k))))
    end = time.perf_counter() + seconds
    spent = [_seconds(engine, queries[:n], k)]
    while time.perf_counter() < end:
        spent.append(_seconds(engine, queries[:n], k))
    return n / float(np.median(spent))


def _seconds(engine: Engine, queries: NDArray[np.float32], k: int) -> float:
    begin = time.perf_counter()
    engine.search_batch(queries, k)
    return time.perf_counter() - begin
