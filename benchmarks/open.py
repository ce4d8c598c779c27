"""A new process: imports, open, and the first exact answer, beside reading the same bytes.

python benchmarks/open.py --vectors sentences.npy --queries queries.npy
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from harness import Data, Results, folder, load, options

import vicinal

CHILD = """
import json, sys, time
started = time.perf_counter()
import numpy
import vicinal
imported = time.perf_counter() - started
path, queries, budget = sys.argv[1:4]
with vicinal.connect(path, read_only=True, memory_budget=budget or None) as db:
    docs = db.collection("docs")
    asked = numpy.load(queries, allow_pickle=False)
    first = docs.search(vector=asked[0], exact=True).ids
    taken = time.perf_counter() - started
    others = [docs.search(vector=query, exact=True, include=()).ids for query in asked[1:20]]
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
print(json.dumps({"import_s": imported, "total_s": taken, "peak_mb": peak, "ids": [first, *others]}))
"""
READ = """
import sys, time
import numpy
started = time.perf_counter()
numpy.fromfile(sys.argv[1], numpy.float32)
print(time.perf_counter() - started)
"""


def child(code: str, *arguments: str) -> str:
    run = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return run.stdout


def fill(data: Data, path: Path) -> None:
    with vicinal.connect(path, durability="relaxed", maintenance=False) as db:
        docs = db.collection("docs", dim=data.vectors.shape[1])
        for start in range(0, len(data.vectors), 10_000):
            end = min(len(data.vectors), start + 10_000)
            docs.add(ids=np.arange(start, end), vectors=data.vectors[start:end], metadata=data.metadata(start, end))


def main() -> None:
    parser = options(__doc__, 1_000_000)
    arguments = parser.parse_args()
    data = load(arguments)
    results = Results(
        f"open and first exact answer over {len(data.vectors):,} x {data.vectors.shape[1]}",
        ["what", "seconds", "import_s", "peak_mb", "bar_s", "same_answers"],
    )
    with folder(arguments) as base:
        path, raw, queries = base / "ours.db", base / "raw.f32", base / "queries.npy"
        fill(data, path)
        data.vectors.tofile(raw)
        np.save(queries, data.queries[:20])
        child(READ, str(raw))
        reads = sorted(float(child(READ, str(raw))) for _ in range(5))
        bar = 2 * reads[2] + 0.5
        results.add(what="numpy.fromfile", seconds=reads[2])
        runs = sorted(
            (json.loads(child(CHILD, str(path), str(queries), "")) for _ in range(5)),
            key=lambda run: run["total_s"],
        )
        whole = runs[2]
        results.add(
            what="vicinal",
            seconds=whole["total_s"],
            import_s=whole["import_s"],
            peak_mb=whole["peak_mb"],
            bar_s=bar,
        )
        tight = json.loads(child(CHILD, str(path), str(queries), "256MB"))
        results.add(
            what='vicinal, memory_budget="256MB"',
            seconds=tight["total_s"],
            import_s=tight["import_s"],
            peak_mb=tight["peak_mb"],
            same_answers=str(tight["ids"] == whole["ids"]),
        )
    results.show(arguments.json)


if __name__ == "__main__":
    main()
