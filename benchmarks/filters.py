"""From a filter to a bitmap over rows, first use of a field, and an update of every row.

python benchmarks/filters.py --vectors sentences.npy --attributes attributes.npz
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from harness import Data, Results, folder, load, milliseconds, options, p50

import vicinal
from vicinal import F

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]
FILTERS = {
    "number ==": F("source") == 1,
    "number >=": F("nwords") >= 30,
    "number between": F("nwords").between(10, 20),
    "number in": F("source").isin([1, 3]),
    "string ==": F("kind") == "kind 7",
    "string in": F("kind").isin(["kind 3", "kind 5"]),
    "string like": F("kind").like("kind 1%"),
    "list contains": F("tags").contains("beta"),
    "list contains any": F("tags").contains_any(["beta", "delta"]),
    "list contains all": F("tags").contains_all(["beta", "delta"]),
    "and of three": (F("nwords") >= 30) & (F("kind") == "kind 7") & F("tags").contains("beta"),
    "or, not": (F("source") == 1) | ~(F("nwords") < 20) | (F("kind") == "kind 7"),
}


def metadata(data: Data, start: int, end: int) -> list[dict[str, object]]:
    return [
        {
            **row,
            "kind": f"kind {row['source'] * 7 % 13}",
            "tags": [WORDS[at % 5], WORDS[at // 5 % 5]],
        }
        for at, row in enumerate(data.metadata(start, end), start)
    ]


def fill(data: Data, path: Path) -> None:
    with vicinal.connect(path, durability="relaxed", maintenance=False) as db:
        docs = db.collection("docs", dim=data.vectors.shape[1])
        for start in range(0, len(data.vectors), 10_000):
            end = min(len(data.vectors), start + 10_000)
            docs.add(
                ids=np.arange(start, end),
                vectors=data.vectors[start:end],
                metadata=metadata(data, start, end),
            )


def main() -> None:
    parser = options(__doc__, 1_000_000)
    arguments = parser.parse_args()
    data = load(arguments)
    results = Results(f"filters over {len(data.vectors):,} rows", ["what", "ms", "passing"])
    with folder(arguments) as base:
        path = base / "ours.db"
        fill(data, path)
        for field in ("source", "kind", "tags"):
            with vicinal.connect(path, maintenance=False) as db:
                docs = db.collection("docs")
                started = time.perf_counter()
                docs.count(F(field).exists())
                results.add(what=f"first use of {field!r} after opening", ms=(time.perf_counter() - started) * 1000)
        with vicinal.connect(path, maintenance=False) as db:
            docs = db.collection("docs")
            for name, where in FILTERS.items():
                passing = docs.count(where)
                ms = p50(milliseconds(lambda where=where: docs.count(where), 30))
                results.add(what=f"{name}: {where}", ms=ms, passing=passing)
            before = path.stat().st_size
            vectors = db.execute("select sum(length(data)) from vicinal_vector")[0][0]
            started = time.perf_counter()
            docs.update(where=F("nwords") >= 0, metadata={"checked": True})
            results.add(what="update of one field in every row", ms=(time.perf_counter() - started) * 1000)
            db.compact()
            assert vectors == db.execute("select sum(length(data)) from vicinal_vector")[0][0]
            results.add(what="file growth of that update, MB", ms=(path.stat().st_size - before) / 1e6)
            started = time.perf_counter()
            n = docs.count(F("checked") == True)  # noqa: E712
            results.add(what="first use of the new field", ms=(time.perf_counter() - started) * 1000, passing=n)
    results.show(arguments.json)


if __name__ == "__main__":
    main()
