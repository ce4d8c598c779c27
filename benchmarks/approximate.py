"""Approximate search with default settings beside bare faiss scans and graphs, at equal recall.

python benchmarks/approximate.py --vectors sentences.npy --queries queries.npy

Parts: recall, later, filters, throughput, open, life, hardness, images. The first half of the queries comes from the
same data as the vectors, the second half from elsewhere; they are reported apart. A hit counts if its distance,
computed by NumPy in float64, is at most that of the true k-th row. All of it runs with OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import approximate_images
import approximate_life
import numpy as np
from approximate_peers import BATCH, Graph, Rows, Scan, Zvec, unit
from harness import Data, Results, Truth, folder, in_turns, load, options, p50, write

import vicinal

ASKED = (0.90, 0.95, 0.99)
HALVES = ("in", "out")
FINE_ROWS = 200_000
"""Of more rows, the scan with two bits per dimension is far slower than that with one."""


@dataclass
class Half:
    """Queries of one half, and their true answers."""

    name: str
    queries: np.ndarray
    units: np.ndarray
    truth: Truth


def halves(data: Data, vectors: np.ndarray, k: int, n: int) -> list[Half]:
    middle = len(data.queries) // 2
    chosen = [data.queries[:middle][:n], data.queries[middle:][:n]]
    return [
        Half(name, queries, unit(queries), Truth(vectors, queries, k))
        for name, queries in zip(HALVES, chosen, strict=True)
    ]


def added(rows: Rows, db: vicinal.Database, query: np.ndarray, results: Results) -> None:
    """Add all rows; the reference is to append the same bytes of vectors to a file, and fsync, per batch."""
    times = rows.fill(db)
    started = time.perf_counter()
    db.collection("rows").search(vector=query, include=())
    first = (time.perf_counter() - started) * 1000
    plain = []
    with rows.path.with_suffix(".raw").open("wb") as raw:
        for at in range(0, rows.n, BATCH):
            started = time.perf_counter()
            raw.write(rows.vectors[at : at + BATCH])
            raw.flush()
            os.fsync(raw.fileno())
            plain.append(time.perf_counter() - started)
    rows.path.with_suffix(".raw").unlink()
    results.add(
        what="add in batches of 1,000", rows=rows.n, threads=1, seconds=sum(times), rows_per_s=rows.n / sum(times),
        p50_ms=p50(sorted(times)) * 1000, worst_ms=max(times) * 1000, first_search_ms=first,
        ratio=sum(times) / sum(plain),
    )  # fmt: skip


def measured(
    docs: vicinal.Collection, half: Half, k: int, recall: float, peers: list[Any], timed: int
) -> dict[str, Any]:
    """Search with all queries of a half; then time some of them, in turns with peers that find as much."""
    answers = [docs.search(vector=query, k=k, recall=recall, include=()).ids for query in half.queries]
    shares = half.truth.recall(answers, k)
    told = [docs.explain(vector=query, k=k, recall=recall, include=()) for query in half.queries[:20]]
    efforts = [peer.effort_for(half.units, half.truth, k, shares.mean()) for peer in peers]
    calls: list[Callable[[int], Any]] = [
        lambda number: docs.search(vector=half.queries[number], k=k, recall=recall, include=())
    ]
    for peer, effort in zip(peers, efforts, strict=True):
        calls.append(lambda number, peer=peer, effort=effort: peer.one(half.units[number], k, effort))
    busy: list[list[float]] = []
    times = in_turns(calls, range(min(timed, len(half.queries))), processor=busy)
    row = {
        "k": k, "half": half.name, "asked": recall, "recall": float(shares.mean()), "p50_ms": p50(times[0]),
        "p95_ms": times[0][int(len(times[0]) * 0.95)], "candidates": float(np.mean([each.candidates for each in told])),
        "plan": told[-1].plan, "told": told[-1].recall,
    }  # fmt: skip
    stages = {stage for each in told for stage in each.stages_ms}
    row["stages_ms"] = {stage: float(np.median([each.stages_ms.get(stage, 0.0) for each in told])) for stage in stages}
    best: dict[bool, list[float]] = {True: [], False: []}
    cheapest = []
    for peer, effort, mine, used in zip(peers, efforts, times[1:], busy[1:], strict=True):
        found = half.truth.recall((peer.one(query, k, effort) for query in half.units), k).mean()
        row[peer.name] = p50(mine)
        row[f"{peer.name} effort"], row[f"{peer.name} recall"] = effort, float(found)
        if found >= shares.mean() - 0.003:
            best[isinstance(peer, Scan)].append(p50(mine))
            cheapest += [p50(used)] if isinstance(peer, Scan) else []
    row["ratio"], row["graph_ratio"] = (row["p50_ms"] / min(best[kind]) if best[kind] else "" for kind in (True, False))
    row["cpu_ms"], row["cpu_ratio"] = p50(busy[0]), p50(busy[0]) / min(cheapest) if cheapest else ""
    return row


def recall(rows: Rows, data: Data, arguments: Any, results: Results, base: Path) -> None:
    """Measure recall and time at once after the last add returned, then again with two threads."""
    known = halves(data, rows.vectors, 100, arguments.asked)
    units = unit(rows.vectors)
    makers: list[Callable[[], Any]] = [lambda: Scan(units, 4)]
    if rows.n <= FINE_ROWS:
        makers.append(lambda: Scan(units, 2))
    if not arguments.no_peer and rows.n <= arguments.graph_rows:
        makers.append(lambda: Graph(units))
    if not arguments.no_peer and rows.n <= arguments.zvec_rows:
        makers.append(lambda: Zvec(units, base / "zvec", rows.uniform))
    peers = []
    for make in makers:
        peers.append(make())
        results.add(what=f"{peers[-1].name} built", rows=rows.n, seconds=peers[-1].seconds)
    db = rows.connect()
    added(rows, db, data.queries[0], results)
    for threads in (1, 2):
        if threads == 2:
            db.close()
            db = rows.connect(2)
        docs = db.collection("rows")
        for k in (10, 1, 100):
            for half in known:
                for asked in ASKED:
                    scans = [peer for peer in peers if isinstance(peer, Scan)]
                    row = measured(docs, half, k, asked, peers if k == 10 else scans, arguments.timed)
                    results.add(what="vicinal", rows=rows.n, threads=threads, **row)
    db.close()
    for peer in peers:
        if isinstance(peer, Zvec):
            peer.close()


def later(rows: Rows, data: Data, arguments: Any, results: Results, base: Path) -> None:
    """Measure the same when all background work is done: a graph beside the codes."""
    known, units = halves(data, rows.vectors, 10, arguments.asked), unit(rows.vectors)
    peers: list[Any] = [Scan(units, 4)]
    if not arguments.no_peer and rows.n <= arguments.zvec_rows:
        peers.append(Zvec(units, base / "zvec-later", rows.uniform))
        results.add(what=f"{peers[-1].name} built", rows=rows.n, seconds=peers[-1].seconds)
    with rows.filled().connect() as db:
        started, docs = time.perf_counter(), db.collection("rows")
        found = db.maintain()
        seconds, mb = time.perf_counter() - started, found["bytes_after"] / 1e6
        results.add(
            what="maintained", rows=rows.n, seconds=seconds, megabytes=mb, before_mb=found["bytes_before"] / 1e6
        )
        for _ in range(200):  # vectors, ids and the graph come into memory behind the first searches
            docs.search(vector=data.queries[0], include=())
            time.sleep(0.05)
        for half in known:
            for asked in ASKED:
                row = measured(docs, half, 10, asked, peers, arguments.timed)
                results.add(what="vicinal", rows=rows.n, threads=1, **row)
        for peer in peers[1:]:
            approximate_life.beside_zvec(docs, rows, data, arguments.filtered, peer, results)
            peer.close()


def throughput(rows: Rows, data: Data, results: Results) -> None:
    """Measure queries per second: one at a time, by four threads, and 1,000 at once; in vicinal and in bare faiss."""
    half = halves(data, rows.vectors, 10, 1000)[0]
    units, several = unit(rows.vectors), half.queries
    scans = [Scan(units, 4), Scan(units, 2)]
    for threads in (1, 2):
        with rows.filled().connect(threads) as db:
            docs = db.collection("rows")

            def one(number: int, docs: vicinal.Collection = docs) -> Any:
                return docs.search(vector=several[number], include=()).ids

            answers = [one(number) for number in range(len(several))]
            share = float(half.truth.recall(answers, 10).mean())
            depths = [scan.effort_for(half.units, half.truth, 10, share) for scan in scans]
            speeds = [
                p50(in_turns([lambda number: scan.one(half.units[number], 10, depth)], range(100))[0])
                for scan, depth in zip(scans, depths, strict=True)
            ]
            scan, depth = min(zip(speeds, zip(scans, depths, strict=True), strict=True), key=lambda each: each[0])[1]
            together = docs.search_batch(several, arrays=True)
            in_batch = float(half.truth.recall(together.ids, 10).mean())
            batch_depth = scan.effort_for(half.units, half.truth, 10, in_batch)
            bare_found = float(half.truth.recall(scan.batch(half.units, 10, batch_depth), 10).mean())

            def bare(number: int, scan: Scan = scan, depth: int = depth) -> Any:
                return scan.one(half.units[number], 10, depth)

            alone, bare_alone = _best(lambda: _by_threads(one, several, 1), lambda: _by_threads(bare, several, 1))
            four, bare_four = _best(lambda: _by_threads(one, several, 4), lambda: _by_threads(bare, several, 4))
            batch, bare_batch = _best(
                lambda: docs.search_batch(several, arrays=True),
                lambda: _bare_batch(scan, half.units, batch_depth, threads),
            )
            lines = [
                ("one at a time", alone, bare_alone, share),
                ("4 Python threads", four, bare_four, share),
                ("1,000 at once", batch, bare_batch, in_batch),
            ]
            for what, seconds, reference, found in lines:
                results.add(
                    what=what, rows=rows.n, threads=threads, queries_per_s=len(several) / seconds,
                    recall=found, times_one=alone / seconds, bare=scan.name, bare_per_s=len(several) / reference,
                    bare_recall=bare_found if what == lines[-1][0] else share, bare_times_one=bare_alone / reference,
                    ratio=seconds / reference,
                )  # fmt: skip


def _bare_batch(scan: Scan, queries: np.ndarray, depth: int, threads: int) -> None:
    if threads == 1:
        scan.batch(queries, 10, depth)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: scan.batch(part, 10, depth), np.array_split(queries, threads)))


def _by_threads(one: Callable[[int], Any], queries: np.ndarray, n: int) -> None:
    def some(first: int) -> None:
        for number in range(first, len(queries), n):
            one(number)

    with ThreadPoolExecutor(n) as pool:
        list(pool.map(some, range(n)))


def _best(*calls: Callable[[], Any]) -> list[float]:
    """Return the seconds of each, the medians of three turns after a first one."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(4):
        for call, mine in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            if turn:
                mine.append(time.perf_counter() - started)
    return [sorted(mine)[1] for mine in times]


COLUMNS = {
    "recall": [
        "what", "rows", "threads", "k", "half", "asked", "recall", "p50_ms", "p95_ms", "candidates", "ratio",
        "graph_ratio", "cpu_ratio",
    ],
    "later": ["what", "half", "asked", "recall", "p50_ms", "p95_ms", "ratio", "graph_ratio", "seconds", "megabytes"],
    "filters": [
        "filter", "half", "passing", "recall", "short", "p50_ms", "filter_ms", "candidates", "exact_ms", "ratio",
        "cpu_ratio",
    ],
    "throughput": ["what", "threads", "queries_per_s", "recall", "times_one", "bare_per_s", "bare_times_one", "ratio"],
    "open": ["what", "seconds", "import_s", "read_mb", "peak_mb", "second_ms", "slowest_ms", "last_ms", "ratio"],
    "life": ["what", "half", "asked", "recall", "p50_ms", "seconds", "rows_per_s", "megabytes", "ratio"],
    "images": ["index", "asked", "recall", "p50_ms", "peer", "effort", "peer_recall", "peer_ms", "added_ms", "ratio"],
    "hardness": ["data", "rows", "dim", "asked", "recall", "candidates", "p50_ms", "exact_ms", "ratio"],
}  # fmt: skip


def arguments_of(argv: list[str]) -> Any:
    parser = options(__doc__, 1_000_000)
    parser.add_argument("--parts", default=",".join(COLUMNS), help="some of them, separated by commas")
    parser.add_argument("--sizes", help="rows of part recall; default: 100000 and --rows")
    parser.add_argument("--asked", type=int, default=500, help="queries of each half whose recall is measured")
    parser.add_argument("--timed", type=int, default=200, help="queries of each half that are timed")
    parser.add_argument("--filtered", type=int, default=100, help="queries of each half under each filter")
    parser.add_argument("--clusters", type=int, default=100, help="of the metadata field that filters test")
    parser.add_argument("--idle", type=float, default=30, help="seconds before the file is measured (part life)")
    parser.add_argument("--pairs", type=int, default=200, help="adds, each followed by a search (part life)")
    parser.add_argument("--hard-rows", type=int, default=100_000, help="rows of each data set of part hardness")
    parser.add_argument("--fashion-mnist", type=Path, default=approximate_images.FASHION, help="folder of its files")
    parser.add_argument("--more", action="append", default=[], help="NAME=VECTORS.npy,QUERIES.npy for part hardness")
    parser.add_argument("--no-peer", action="store_true", help="without graphs; the bare scans always run")
    parser.add_argument("--graph-rows", type=int, default=100_000, help="up to so many rows beside faiss HNSW")
    parser.add_argument("--zvec-rows", type=int, default=100_000, help="up to so many rows beside zvec")
    return parser.parse_args(argv)


def main() -> None:
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # NumPy reads it once: start again
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - itself
    arguments = arguments_of(sys.argv[1:])
    data = load(arguments)
    n, chosen = len(data.vectors), arguments.parts.split(",")
    sizes = sorted({min(n, int(each)) for each in (arguments.sizes or f"100000,{n}").split(",")})
    written: list[Results] = []

    def results(part: str) -> Results:
        print(part, flush=True)
        written.append(Results(f"{part} ({data.origin})", COLUMNS[part]))
        return written[-1]

    def save() -> None:
        write(arguments.json, written, rows=n, dim=data.vectors.shape[1])

    with folder(arguments) as base:
        full = Rows(base / "full.db", data, n, arguments.clusters)
        if "recall" in chosen:
            lines = results("recall")
            for size in sizes:
                rows = full if size == n else Rows(base / f"{size}.db", data, size, arguments.clusters)
                recall(rows, data, arguments, lines, base)
                if rows is not full:
                    rows.remove()
                save()
        parts = {
            "later": lambda lines: later(full.filled(), data, arguments, lines, base),
            "filters": lambda lines: approximate_life.filters(full.filled(), data, arguments, lines),
            "throughput": lambda lines: throughput(full.filled(), data, lines),
            "open": lambda lines: approximate_life.opened(full.filled(), data, lines, base),
            "life": lambda lines: approximate_life.life(full.filled(), data, arguments, lines, base),
        }
        for part in [part for part in parts if part in chosen]:
            parts[part](results(part))
            save()
        full.remove()
        if "hardness" in chosen:
            approximate_life.hardness(data, arguments, results("hardness"), base)
            save()
        if "images" in chosen:
            approximate_images.beside_faiss(arguments, results("images"), base)
            save()
    for each in written:
        each.show(None)


if __name__ == "__main__":
    main()
