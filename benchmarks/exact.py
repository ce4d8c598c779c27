"""Exact search, one query at a time and in batches, beside NumPy in memory and sqlite-vec.

python benchmarks/exact.py --vectors sentences.npy --queries queries.npy
Threads: set OPENBLAS_NUM_THREADS (NumPy's) and --threads (vicinal's) alike.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
from harness import Data, Results, folder, load, milliseconds, options, p50

import vicinal

K = 10
REST = 0.15
"""Seconds; threads of BLAS spin for up to a tenth of one after a product."""
VARIANTS = [
    ("f32", "cosine"),
    ("f32", "l2"),
    ("f32", "dot"),
    ("f32", "l1"),
    ("f16", "cosine"),
    ("f16", "l1"),
    ("i8", "cosine"),
    ("i8", "l1"),
    ("bit", "hamming"),
]


def converted(vectors: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "f16":
        return vectors.astype(np.float16)
    if dtype == "i8":
        return np.rint(vectors / np.abs(vectors).max() * 127).astype(np.int8)
    return np.packbits(vectors > 0, axis=1) if dtype == "bit" else vectors


def numpy_one(vectors: np.ndarray, queries: np.ndarray, n: int) -> float:
    asked = itertools.cycle(queries)

    def once() -> None:
        products = vectors @ next(asked)
        np.argpartition(products, len(products) - K)[-K:]

    return p50(milliseconds(once, n))


def sqlite_vec_one(data: Data, path: Path, n: int) -> float:
    import apsw
    import sqlite_vec

    connection = apsw.Connection(str(path))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.execute("pragma journal_mode = wal").fetchall()
    dim = data.vectors.shape[1]
    connection.execute(f"create virtual table v using vec0(embedding float[{dim}] distance_metric=cosine)")
    with connection:
        connection.executemany(
            "insert into v(rowid, embedding) values (?, ?)",
            ((row, memoryview(vector).cast("B")) for row, vector in enumerate(data.vectors)),
        )
    asked = itertools.cycle(data.queries)

    def once() -> None:
        query = memoryview(next(asked)).cast("B")
        connection.execute("select rowid, distance from v where embedding match ? and k = ?", (query, K)).fetchall()

    times = milliseconds(once, n)
    connection.close()
    path.unlink()
    return p50(times)


def filled(path: Path, vectors: np.ndarray, dtype: str, metric: str, threads: int) -> vicinal.Database:
    db = vicinal.connect(path, durability="relaxed", threads=threads, maintenance=False)
    docs = db.collection("docs", dim=vectors.shape[1] * (8 if dtype == "bit" else 1), dtype=dtype, metric=metric)
    for start in range(0, len(vectors), 10_000):
        docs.add(ids=np.arange(start, min(len(vectors), start + 10_000)), vectors=vectors[start : start + 10_000])
    return db


def measure(data: Data, threads: int, n: int, sqlite_vec: bool, results: Results, base: Path) -> None:
    rows = len(data.vectors)
    reference = numpy_one(data.vectors, data.queries, n)
    results.add(rows=rows, what="NumPy X @ q, argpartition", p50_ms=reference, ratio=1.0)
    if sqlite_vec:
        peer = sqlite_vec_one(data, base / "peer.db", max(5, n // 10))
        results.add(rows=rows, what="sqlite-vec, cosine", p50_ms=peer, ratio=peer / reference)
    for dtype, metric in VARIANTS:
        vectors, queries = converted(data.vectors, dtype), converted(data.queries, dtype)
        with filled(base / "ours.db", vectors, dtype, metric, threads) as db:
            docs, asked = db.collection("docs"), itertools.cycle(queries)
            ours = p50(milliseconds(lambda: docs.search(vector=next(asked), k=K, include=(), exact=True), n))
            again = numpy_one(data.vectors, data.queries, n)  # the machine's speed drifts: compare with now
            results.add(rows=rows, what=f"vicinal {dtype} {metric}", p50_ms=ours, ratio=ours / again)
            if (dtype, metric) == ("f32", "cosine"):
                _batches(docs, data, results)
        for file in base.glob("ours.db*"):
            file.unlink()


def _batches(docs: vicinal.Collection, data: Data, results: Results) -> None:
    """Time both with processors at rest, and ours also right after a product: BLAS's threads then still spin."""
    asked = np.ascontiguousarray(data.queries[:256])
    docs.search_batch(asked, k=K, arrays=True, exact=True)
    bare, ours, after = [], [], []
    for _ in range(11):  # in turns: the machine's speed drifts
        time.sleep(REST)
        bare += milliseconds(lambda: _product(asked, data.vectors), 1)
        after += milliseconds(lambda: docs.search_batch(asked, k=K, arrays=True, exact=True), 1)
        time.sleep(REST)
        ours += milliseconds(lambda: docs.search_batch(asked, k=K, arrays=True, exact=True), 1)
    results.add(rows=len(data.vectors), what="Q @ X.T, 256 queries", p50_ms=p50(sorted(bare)), ratio=1.0)
    for what, times in (("vicinal batch of 256", ours), ("the same right after Q @ X.T", after)):
        share = p50(sorted(one / two for one, two in zip(bare, times, strict=True)))
        results.add(rows=len(data.vectors), what=what, p50_ms=p50(sorted(times)), ratio=1 / share, throughput=share)


def _product(queries: np.ndarray, vectors: np.ndarray) -> None:
    for start in range(0, len(vectors), 65_536):  # in pieces, as the whole product would fill the memory
        queries @ vectors[start : start + 65_536].T


def main() -> None:
    parser = options(__doc__, 1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--no-peer", action="store_true")
    arguments = parser.parse_args()
    data = load(arguments)
    results = Results(
        f"exact search, k={K}, {arguments.threads} threads ({data.origin})",
        ["what", "rows", "p50_ms", "ratio", "throughput"],
    )
    with folder(arguments) as base:
        for size in map(int, arguments.sizes.split(",")):
            part = Data(data.vectors[:size], data.queries, [], [], data.origin)
            measure(part, arguments.threads, arguments.calls, not arguments.no_peer, results, base)
    results.show(arguments.json, threads=arguments.threads)


if __name__ == "__main__":
    main()
