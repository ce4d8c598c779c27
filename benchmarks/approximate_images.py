"""Part `images` of `approximate.py`: fashion-mnist beside bare faiss at equal recall; what we add is stated in ms."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from approximate_peers import BATCH, Graph, Scan
from harness import Results, Truth, in_turns, p50

import vicinal

K = 10
FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts it."""


def images(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Return rows (60,000, 784) and queries (10,000, 784) of fashion-mnist; None where it is not there."""
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        print(f"   fashion-mnist is not in {folder}: Debian's package dataset-fashion-mnist has it", flush=True)
        return None
    found = [gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()) for part in ("train", "t10k")]
    rows, queries = (np.frombuffer(each, np.uint8, offset=16).reshape(-1, 784).astype(np.float32) for each in found)
    return rows, queries


def beside_faiss(arguments: Any, results: Results, base: Path) -> None:
    """Search with default settings beside the bare scan, and in a graph chosen by hand beside a bare graph."""
    found = images(arguments.fashion_mnist)
    if found is None:
        return
    rows, queries = found[0], found[1][: arguments.asked]
    truth = Truth(rows, queries, K, "l2")
    peers: dict[str, Any] = {"auto": Scan(rows, 4, l2=True), "hnsw": Graph(rows, l2=True)}
    for kind, peer in peers.items():
        with vicinal.connect(base / f"images-{kind}.db", durability="relaxed", threads=1) as db:
            docs = db.collection("rows", dim=rows.shape[1], metric="l2")
            for start in range(0, len(rows), BATCH):
                end = min(len(rows), start + BATCH)
                docs.add(ids=np.arange(start, end), vectors=rows[start:end])
            docs.index(kind)
            db.compact()
            for asked in (0.95, 0.99):

                def ours(number: int, docs: Any = docs, asked: float = asked) -> Any:
                    return docs.search(vector=queries[number], k=K, recall=asked, include=()).ids

                recall = float(truth.recall([ours(number) for number in range(len(queries))], K).mean())
                effort = peer.effort_for(queries, truth, K, recall)
                bare = float(truth.recall((peer.one(query, K, effort) for query in queries), K).mean())

                def theirs(number: int, peer: Any = peer, effort: int = effort) -> Any:
                    return peer.one(queries[number], K, effort)

                times = in_turns([ours, theirs], range(min(arguments.timed, len(queries))))
                results.add(
                    data="fashion-mnist-784", index=kind, asked=asked, recall=recall, p50_ms=p50(times[0]),
                    peer=peer.name, effort=effort, peer_recall=bare, peer_ms=p50(times[1]),
                    added_ms=p50(times[0]) - p50(times[1]), ratio=p50(times[0]) / p50(times[1]),
                )  # fmt: skip
