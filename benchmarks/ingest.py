"""Rows per second of durable inserts in batches, beside sqlite-vec and zvec; file sizes; tenants.

Ids, metadata and parameters are made before the clock runs; what an engine makes of them is its own time.

python benchmarks/ingest.py --vectors sentences.npy --attributes attributes.npz
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

from harness import Data, Results, folder, load, options

import vicinal

BATCH = 1000


def flat_rows(data: Data, path: Path) -> tuple[float, int]:
    """Flat storage, as of the peers here: nothing is derived."""
    return vicinal_rows(data, path, kind="flat")


def vicinal_rows(data: Data, path: Path, kind: str = "auto") -> tuple[float, int]:
    """Return the seconds, codes for approximate search included, and the bytes of what is derived."""
    n = len(data.vectors)
    with vicinal.connect(path, maintenance=False) as db:
        docs = db.collection("sentences", dim=data.vectors.shape[1])
        docs.index(kind)
        seconds = 0.0
        for start in range(0, n, BATCH):
            end = min(n, start + BATCH)
            ids, metadata = [f"s{row:07d}" for row in range(start, end)], data.metadata(start, end)
            started = time.perf_counter()
            docs.add(ids=ids, vectors=data.vectors[start:end], metadata=metadata)
            seconds += time.perf_counter() - started
        derived = db.execute("select total(length(data)) from vicinal_code")[0][0]
        return seconds, int(str(derived).partition(".")[0])


def sqlite_vec_rows(data: Data, path: Path) -> tuple[float, int]:
    """The same durability; integer keys, metadata columns; no string ids, text or versions."""
    import apsw
    import sqlite_vec

    n, dim = data.vectors.shape
    connection = apsw.Connection(str(path))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.execute("pragma journal_mode = wal").fetchall()
    connection.execute("pragma synchronous = full").fetchall()
    connection.execute(
        f"create virtual table v using vec0(embedding float[{dim}] distance_metric=cosine, source int, nwords int)"
    )
    taken = 0.0
    for start in range(0, n, BATCH):
        end = min(n, start + BATCH)
        rows = [
            (row, memoryview(data.vectors[row]).cast("B"), *values.values())
            for row, values in zip(range(start, end), data.metadata(start, end), strict=True)
        ]
        started = time.perf_counter()
        connection.execute("begin immediate")
        connection.executemany("insert into v(rowid, embedding, source, nwords) values (?, ?, ?, ?)", rows)
        connection.execute("commit")
        taken += time.perf_counter() - started
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()
    connection.close()
    return taken, 0


def zvec_rows(data: Data, path: Path) -> tuple[float, int]:
    """Flat storage, flushed at the end only: it offers no durable batch."""
    import zvec

    n, dim = data.vectors.shape
    schema = zvec.CollectionSchema(
        name="sentences",
        fields=[
            zvec.FieldSchema("source", zvec.DataType.INT64),
            zvec.FieldSchema("nwords", zvec.DataType.INT64),
        ],
        vectors=zvec.VectorSchema(
            "v",
            zvec.DataType.VECTOR_FP32,
            dim,
            index_param=zvec.FlatIndexParam(metric_type=zvec.MetricType.COSINE),
        ),
    )
    collection = zvec.create_and_open(str(path), schema)
    taken = 0.0
    for start in range(0, n, BATCH):
        end = min(n, start + BATCH)
        ids, metadata = [f"s{row:07d}" for row in range(start, end)], data.metadata(start, end)
        started = time.perf_counter()
        collection.insert(
            [
                zvec.Doc(identity, vectors={"v": vector}, fields=fields)
                for identity, vector, fields in zip(ids, data.vectors[start:end], metadata, strict=True)
            ]
        )
        taken += time.perf_counter() - started
    started = time.perf_counter()
    collection.flush()
    taken += time.perf_counter() - started
    collection.destroy()
    return taken, 0


def tenants(path: Path, results: Results, n: int = 1000) -> None:
    with vicinal.connect(path, maintenance=False) as db:
        started = time.perf_counter()
        for tenant in range(n):
            db.collection(f"tenant {tenant}", dim=256).add(
                ids=["only"], vectors=[[1.0] * 256], metadata=[{"n": tenant}]
            )
        taken = time.perf_counter() - started
    size = path.stat().st_size
    opened = []
    for tenant in range(0, n, 20):
        started = time.perf_counter()
        with vicinal.connect(path) as db:
            db.collection(f"tenant {tenant}").search([1.0] * 256)
            opened.append((time.perf_counter() - started) * 1000)
    results.add(
        engine=f"{n} collections of one row",
        rows_per_s=n / taken,
        seconds=taken,
        bytes_per_row=size / n,
        open_ms_p50=sorted(opened)[len(opened) // 2],
        open_ms_max=max(opened),
    )


def main() -> None:
    parser = options(__doc__, 1_000_000)
    parser.add_argument("--only", default="vicinal,coded,sqlite-vec,zvec,tenants")
    arguments = parser.parse_args()
    data = load(arguments)
    n, dim = data.vectors.shape
    payload = data.vectors.nbytes + sum(
        len(f'{{"source":{source},"nwords":{nwords}}}') for source, nwords in zip(data.source, data.nwords, strict=True)
    )
    results = Results(
        f"durable inserts in batches of {BATCH}: {n:,} x {dim} ({data.origin})",
        [
            "engine",
            "rows_per_s",
            "seconds",
            "bytes_per_row",
            "derived_per_row",
            "size_ratio",
            "vicinal_is",
            "open_ms_p50",
            "open_ms_max",
        ],
    )
    speed: dict[str, float] = {}
    runs = {"vicinal": flat_rows, "coded": vicinal_rows, "sqlite-vec": sqlite_vec_rows, "zvec": zvec_rows}
    with folder(arguments) as base:
        for name in [name for name in arguments.only.split(",") if name in runs]:
            path = base / name
            gc.collect()
            os.sync()
            taken, derived = runs[name](data, path)
            speed[name] = n / taken
            row = {"engine": name, "rows_per_s": speed[name], "seconds": taken}
            if path.is_file():
                size = path.stat().st_size
                row |= {
                    "bytes_per_row": size / n,
                    "derived_per_row": derived / n,
                    "size_ratio": (size - derived) / payload,
                }
                path.unlink()
            row["vicinal_is"] = f"{speed['vicinal'] / speed[name]:.2f}x" if "vicinal" in speed else ""
            results.add(**row)
        if "tenants" in arguments.only:
            tenants(base / "tenants.db", results)
    results.show(arguments.json, rows=n, dim=dim, batch=BATCH)


if __name__ == "__main__":
    main()
