"""Parts of `approximate.py`: filters, the life of a collection, opening, and data of different hardness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from approximate_images import images
from approximate_peers import BATCH, UNIFORM, Rows, Scan, Zvec, unit
from harness import Allowed, Data, Results, Truth, in_turns, milliseconds, p50

import vicinal
from vicinal import F
from vicinal.filters import Expression

K = 10
PASSING = (0.9, 0.5, 0.1, 0.01, 0.001, 0.0001)
BESIDE = (0.5, 0.1, 0.01)
"""Those measured beside zvec."""


# Filters.


@dataclass
class Filter:
    """A filter, which may differ from query to query, and the same for NumPy."""

    name: str
    where: Callable[[int], Expression]
    allowed: Allowed


def _filters(rows: Rows, queries: np.ndarray) -> Iterator[Filter]:
    for share in PASSING:
        limit = round(share * UNIFORM)
        yield Filter(
            f"random {share:.2%}",
            lambda _, limit=limit: F("uniform") < limit,
            lambda _, part, limit=limit: (rows.uniform[part] < limit)[None],
        )
    order = np.argsort(-(queries @ rows.centroids.T), axis=1)
    n = order.shape[1]
    few, half = max(1, n // 10), n // 2
    for name, chosen in [
        (f"nearest 1 of {n} clusters", order[:, :1]),
        (f"nearest {few} of {n}", order[:, :few]),
        (f"all but the nearest {few}", order[:, few:]),
        (f"farthest {half} of {n}", order[:, -half:]),
        (f"farthest {few} of {n}", order[:, -few:]),
        (f"farthest 1 of {n}", order[:, -1:]),
    ]:
        passes = np.zeros(order.shape, np.bool_)
        np.put_along_axis(passes, chosen, values=True, axis=1)
        yield Filter(
            name,
            lambda number, chosen=chosen: F("cluster").isin(chosen[number].tolist()),
            lambda asked, part, passes=passes: passes[asked][:, rows.cluster[part]],
        )


def filters(rows: Rows, data: Data, arguments: Any, results: Results) -> None:
    """Measure recall among the rows that pass, whether enough came back, and time, beside the same without a filter."""
    middle = len(data.queries) // 2
    with rows.connect() as db:
        docs = db.collection("rows")
        for half, start in (("in", 0), ("out", middle)):
            queries = data.queries[start : start + min(middle, arguments.filtered)]
            for each in _filters(rows, queries):
                results.add(filter=each.name, half=half, **_filtered(docs, rows, queries, each))


def _filtered(docs: vicinal.Collection, rows: Rows, queries: np.ndarray, each: Filter) -> dict[str, Any]:
    truth = Truth(rows.vectors, queries, K, allowed=each.allowed)
    wheres = [each.where(number) for number in range(len(queries))]

    def search(number: int, exact: bool = False) -> list[Any]:
        return docs.search(vector=queries[number], k=K, where=wheres[number], exact=exact, include=()).ids

    answers = [search(number) for number in range(len(queries))]
    due = np.isfinite(truth.distances).sum(axis=1)
    short = sum(len(answer) < least for answer, least in zip(answers, due, strict=True))
    wrong = 0
    for number, answer in enumerate(answers):
        wrong += sum(not each.allowed(slice(number, number + 1), slice(row, row + 1)).all() for row in answer)
    told = [docs.explain(vector=queries[n], k=K, where=wheres[n], include=()) for n in range(len(queries))]
    busy: list[list[float]] = []
    calls = [lambda number: docs.search(vector=queries[number], k=K, include=()), search]
    plain, ours = in_turns(calls, range(len(queries)), processor=busy)
    exact = in_turns([lambda number: search(number, exact=True)], range(min(10, len(queries))))[0]
    return {
        "passing": int(np.median([one.passing for one in told])),
        "recall": float(truth.recall(answers, K).mean()),
        "worst": float(truth.recall(answers, K).min()),
        "short": int(short),
        "wrong": int(wrong),
        "p50_ms": p50(ours),
        "p95_ms": ours[int(len(ours) * 0.95)],
        "filter_ms": p50(sorted(one.stages_ms.get("filter", 0.0) for one in told)),
        "scan_ms": p50(sorted(one.stages_ms.get("scan", 0.0) for one in told)),
        "candidates": float(np.mean([one.candidates for one in told])),
        "plans": "; ".join(f"{count} {plan}" for plan, count in Counter(_short(one.plan) for one in told).items()),
        "exact_ms": p50(exact),
        "unfiltered_ms": p50(plain),
        "ratio": p50(ours) / p50(plain),
        "cpu_ratio": p50(busy[1]) / p50(busy[0]),
    }


def beside_zvec(docs: vicinal.Collection, rows: Rows, data: Data, asked: int, zvec: Zvec, results: Results) -> None:
    """Measure filters on numbers beside zvec's, at the effort with which it finds as much, as far as it does."""
    middle = len(data.queries) // 2
    truths = []  # efforts are remembered by truth
    for half, start in (("in", 0), ("out", middle)):
        queries = data.queries[start : start + min(middle, asked)]
        units = unit(queries)
        for share in BESIDE:
            limit = round(share * UNIFORM)
            passing = (rows.uniform < limit)[None]
            truth = Truth(rows.vectors, queries, K, allowed=lambda _, part, passing=passing: passing[:, part])
            truths.append(truth)
            zvec.where, where = f"uniform < {limit}", F("uniform") < limit

            def search(number: int, where: Any = where, queries: Any = queries) -> list[Any]:
                return docs.search(vector=queries[number], k=K, where=where, include=()).ids

            recall = float(truth.recall([search(number) for number in range(len(queries))], K).mean())
            effort = zvec.effort_for(units, truth, K, recall - 0.003)
            found = float(truth.recall((zvec.one(query, K, effort) for query in units), K).mean())
            ours, theirs = in_turns(
                [search, lambda number, units=units, effort=effort: zvec.one(units[number], K, effort)],
                range(len(queries)),
            )
            results.add(
                what=f"filter {share:.0%}", half=half, recall=recall, p50_ms=p50(ours), peer=zvec.name, effort=effort,
                peer_recall=found, peer_ms=p50(theirs), graph_ratio=p50(ours) / p50(theirs),
            )  # fmt: skip
    zvec.where = None


def _short(plan: str) -> str:
    return plan.split(" of ", maxsplit=1)[0].split(",", maxsplit=1)[0]


# Life: rows come, change and go.


def life(rows: Rows, data: Data, arguments: Any, results: Results, base: Path) -> None:
    middle = len(data.queries) // 2
    current = rows.vectors.copy()
    rng = np.random.default_rng(9)
    with rows.connect(maintenance=True) as db:
        docs = db.collection("rows")
        pairs = _pairs(docs, data, arguments.pairs, base, rows.n, rng)
        for what, ours, reference in pairs:
            row = {"seconds": ours[-1] / 1000, "fsync_ms": p50(reference), "ratio": p50(ours) / p50(reference)}
            results.add(what=what, p50_ms=p50(ours), p95_ms=ours[int(len(ours) * 0.95)], **row)
        docs.delete(where=F("uniform") < 0)  # those pairs' rows, which have it below 0
        order = rng.permutation(rows.n)
        gone, rest = order[: rows.n // 2], order[rows.n // 2 :]
        overwritten = rest[: int(rows.n * 0.3)]
        started = time.perf_counter()
        for start in range(0, len(gone), BATCH):
            docs.delete(gone[start : start + BATCH])
        taken = time.perf_counter() - started
        results.add(what="delete 50 %", seconds=taken, rows_per_s=len(gone) / taken)
        current[overwritten] = rows.vectors[gone[: len(overwritten)]]
        started = time.perf_counter()
        for start in range(0, len(overwritten), BATCH):
            ids = overwritten[start : start + BATCH]
            metadata = [{"uniform": int(rows.uniform[row]), "cluster": int(rows.cluster[row])} for row in ids]
            docs.upsert(ids=ids, vectors=current[ids], metadata=metadata)
        taken = time.perf_counter() - started
        results.add(what="overwrite 30 %", seconds=taken, rows_per_s=len(overwritten) / taken)
        live = np.zeros(rows.n, np.bool_)
        live[rest] = True
        truths = []
        for half, start in (("in", 0), ("out", middle)):
            queries = data.queries[start : start + min(middle, arguments.asked)]
            truths.append((half, Truth(current, queries, K, allowed=lambda _, part: live[part][None])))
        fresh = _imported(base, current, rows, np.sort(rest))
        reference = _asked(fresh, truths, arguments.timed)
        for what, wait in (("at once after", 0.0), (f"after {arguments.idle:g} idle seconds", arguments.idle)):
            time.sleep(wait)
            size, new, log = _bytes(rows.path), _bytes(fresh), _bytes(rows.path) - rows.path.stat().st_size
            line = {"megabytes": size / 1e6, "of_which_log_mb": log / 1e6, "fresh_mb": new / 1e6}
            results.add(what=f"file, {what}", **line, ratio=size / new)
            for line in _searched(docs, truths, arguments.timed):
                again = reference[line["half"], line["asked"]]
                results.add(what=f"search, {what}", **line, fresh_ms=again, ratio=line["p50_ms"] / again)
    size = _bytes(rows.path)
    results.add(what="file, closed", megabytes=size / 1e6, fresh_mb=new / 1e6, ratio=size / new)


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*") if not file.name.endswith("-shm"))


def _pairs(
    docs: vicinal.Collection, data: Data, n: int, base: Path, first: int, rng: np.random.Generator
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield times of adding one row and finding it, beside one fsync of a small append; with rows not coded yet."""
    docs.search(vector=data.queries[0], include=())
    at = first
    for what, bulk in (("add one row, find it", 0), ("the same after 3,500 rows more", 3500)):
        if bulk:
            ids = np.arange(at, at + bulk)
            vectors = data.vectors[rng.integers(0, len(data.vectors), bulk)]
            docs.add(ids=ids, vectors=vectors, metadata=[{"uniform": -1}] * bulk)
            at += bulk
            docs.search(vector=data.queries[0], include=())
        ours, reference = [], []
        with (base / "appended").open("ab") as file:
            for _ in range(n):
                vector = data.queries[rng.integers(len(data.queries))] + rng.standard_normal(data.queries.shape[1]) / 50
                ours += milliseconds(lambda: _found(docs, at, vector), 1, warm=0)
                at += 1
                reference += milliseconds(lambda: _synced(file), 1, warm=0)
        yield what, sorted(ours), sorted(reference)


def _found(docs: vicinal.Collection, row: int, vector: np.ndarray) -> None:
    docs.add(ids=[row], vectors=vector[None], metadata=[{"uniform": -1}])
    assert row in docs.search(vector=vector, k=K, include=()).ids


def _synced(file: Any) -> None:
    file.write(bytes(4096))
    file.flush()
    os.fsync(file.fileno())


def _imported(base: Path, current: np.ndarray, rows: Rows, ids: np.ndarray) -> Path:
    path = base / "fresh.db"
    with vicinal.connect(path, durability="relaxed", threads=1) as db:
        docs = db.collection("rows", dim=current.shape[1])
        for start in range(0, len(ids), 10 * BATCH):
            part = ids[start : start + 10 * BATCH]
            metadata = [{"uniform": int(rows.uniform[row]), "cluster": int(rows.cluster[row])} for row in part]
            docs.add(ids=part, vectors=current[part], metadata=metadata)
    return path


def _asked(path: Path, truths: list[tuple[str, Truth]], timed: int) -> dict[tuple[str, float], float]:
    with vicinal.connect(path, threads=1) as db:
        lines = _searched(db.collection("rows"), truths, timed)
        return {(line["half"], line["asked"]): line["p50_ms"] for line in lines}


def _searched(docs: vicinal.Collection, truths: list[tuple[str, Truth]], timed: int) -> Iterator[dict[str, Any]]:
    for half, truth in truths:
        for asked in (0.90, 0.95, 0.99):

            def search(number: int, truth: Truth = truth, asked: float = asked) -> list[Any]:
                return docs.search(vector=truth.queries[number], k=K, recall=asked, include=()).ids

            answers = [search(number) for number in range(len(truth.queries))]
            share = float(truth.recall(answers, K).mean())
            told = docs.explain(vector=truth.queries[0], k=K, recall=asked, include=())
            times = in_turns([search], range(min(timed, len(answers))))[0]
            yield {
                "half": half, "asked": asked, "recall": share, "p50_ms": p50(times),
                "candidates": told.candidates, "plan": told.plan,
            }  # fmt: skip


# A new process.

CHILD = """
import json, sys, time
started = time.perf_counter()
import numpy
{imports}
imported = time.perf_counter() - started
asked = numpy.load(sys.argv[2], allow_pickle=False)
{first}
taken = time.perf_counter() - started
read = int(next(line for line in open("/proc/self/io") if line.startswith("rchar")).split()[1]) / 1e6
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
{later}
print(json.dumps(dict(import_s=imported, seconds=taken, read_mb=read, peak_mb=peak, **later)))
"""
OURS = """
db = vicinal.connect(sys.argv[1], read_only=True, threads=1)
docs = db.collection("rows")
docs.search(vector=asked[0]).ids
"""
BARE = """
faiss.omp_set_num_threads(1)
index = faiss.read_index(sys.argv[1] + ".faiss")
vectors = numpy.load(sys.argv[1] + ".npy", mmap_mode="r", allow_pickle=False)
near = index.search(asked[:1], 400)[1][0]
near[numpy.argsort(-(vectors[near] @ asked[0]))[:10]]
"""
AGAIN = """
times = []
for number in range(100):
    again = time.perf_counter()
    {call}
    times.append((time.perf_counter() - again) * 1000)
later = dict(second_ms=times[0], slowest_ms=max(times), last_ms=sorted(times[50:])[25])
"""


def opened(rows: Rows, data: Data, results: Results, base: Path) -> None:
    """Time a new process from its first statement to its first answer, and the next hundred; page cache warm."""
    queries, units = base / "queries.npy", unit(rows.vectors)
    np.save(queries, data.queries[:100])
    faiss.write_index(Scan(units, 4).index, f"{rows.path}.faiss")
    np.save(f"{rows.path}.npy", units)
    del units
    ours = CHILD.format(
        imports="import vicinal", first=OURS, later=AGAIN.format(call="docs.search(vector=asked[number]).ids")
    )
    bare = CHILD.format(
        imports="import faiss", first=BARE, later=AGAIN.format(call="index.search(asked[number : number + 1], 400)")
    )
    runs: dict[str, list[dict[str, float]]] = {"bare faiss: read_index, vectors mapped": [], "vicinal": []}
    for turn in range(6):
        for what, code in zip(runs, (bare, ours), strict=True):
            command = [sys.executable, "-c", code, str(rows.path), str(queries)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            if turn:
                runs[what].append(found)
    reference = None
    for what, found in runs.items():
        middle = sorted(found, key=lambda run: run["seconds"])[2]
        reference = reference or middle["seconds"]
        results.add(what=what, **middle, ratio=middle["seconds"] / reference)
    for suffix in (".faiss", ".npy"):
        Path(f"{rows.path}{suffix}").unlink()


# Data of different hardness.


def _hard_sets(data: Data, arguments: Any) -> Iterator[tuple[str, np.ndarray, np.ndarray, str]]:
    n, rng = arguments.hard_rows, np.random.default_rng(11)
    asked = min(arguments.asked, len(data.queries) // 2)
    yield data.origin, data.vectors[:n], data.queries[:asked], "cosine"
    found = images(arguments.fashion_mnist)
    if found is not None:
        yield "fashion-mnist-784", found[0][:n], found[1][:asked], "l2"
    dim = 128
    centres = rng.standard_normal((1000, dim), np.float32)
    rows = centres[rng.integers(0, 1000, n + asked)] + 0.3 * rng.standard_normal((n + asked, dim), np.float32)
    yield "1,000 Gaussian clusters", rows[:n], rows[n:], "l2"
    low = rng.random((n + asked, 10), np.float32)
    rows = np.tanh(low @ rng.standard_normal((10, 256), np.float32)).astype(np.float32)
    yield "uniform, 10 intrinsic dimensions", rows[:n], rows[n:], "l2"
    rows = rng.standard_normal((n + asked, dim), np.float32)
    yield "Gaussian, all dimensions", rows[:n], rows[n:], "cosine"
    for more in arguments.more:
        name, _, paths = more.partition("=")
        vectors, queries = (np.load(path, allow_pickle=False) for path in paths.split(","))
        yield name, vectors[:n], queries[:asked], "cosine"


def hardness(data: Data, arguments: Any, results: Results, base: Path) -> None:
    """Ask for three recalls on each data set; the reference is the exact search of the same collection."""
    for name, vectors, queries, metric in _hard_sets(data, arguments):
        truth = Truth(vectors, queries, K, metric)
        path = base / "hard.db"
        with vicinal.connect(path, durability="relaxed", threads=1) as db:
            docs = db.collection("rows", dim=vectors.shape[1], metric=metric)
            for start in range(0, len(vectors), BATCH):
                end = min(len(vectors), start + BATCH)
                docs.add(ids=np.arange(start, end), vectors=vectors[start:end])
            db.compact()  # calibrated to the end: what is found does not depend on how far maintenance is
            for asked in (0.90, 0.95, 0.99):

                def search(number: int, asked: float = asked, exact: bool = False) -> list[Any]:
                    return docs.search(vector=queries[number], k=K, recall=asked, exact=exact, include=()).ids

                answers = [search(number) for number in range(len(queries))]
                told = [docs.explain(vector=query, k=K, recall=asked, include=()) for query in queries[:50]]
                numbers = range(min(len(queries), 50))
                ours, exact = in_turns([search, lambda number: search(number, exact=True)], numbers)
                results.add(
                    data=name, rows=len(vectors), dim=vectors.shape[1], metric=metric, asked=asked,
                    recall=float(truth.recall(answers, K).mean()),
                    candidates=float(np.mean([one.candidates for one in told])), plan=told[-1].plan,
                    told=told[-1].recall, p50_ms=p50(ours), exact_ms=p50(exact), ratio=p50(ours) / p50(exact),
                )  # fmt: skip
        for file in base.glob("hard.db*"):
            file.unlink()
