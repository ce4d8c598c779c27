"""What depth buys: recall and time of the quantised scan, measured on held-out queries."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import InvalidInput
from vicinal.index.rerank import VectorsAt, exact_distances, rerank
from vicinal.index.scan import CodeSegment, scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.index.candidates import Hits
    from vicinal.vectors import VectorSpec

__all__ = ["Measured", "measure"]

_TIMED = 24
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One depth: mean `recall` of the k nearest, mean number of `candidates`, median `seconds` per query."""

    depth: int
    recall: float
    candidates: float
    seconds: float


def measure(  # noqa: PLR0913, PLR0917 - a calibration is all of these
    segments: Sequence[CodeSegment],
    queries: NDArray[Any],
    truth: Hits,
    spec: VectorSpec,
    k: int,
    depths: Sequence[int],
    vectors_at: VectorsAt,
    *,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
) -> list[Measured]:
    """Return recall and time per query of each depth, in the order of `depths`.

    `truth` is what `search_flat` finds for the queries under the same masks. A candidate counts if
    its distance is at most that of the true k-th (1e-6 relative), so ties do not matter. Queries
    must not be rows of the segments: such rows find themselves first, which flatters.
    Cost: one scan and one re-ranking of the greatest depth per query, and 24 of each depth for times.
    """
    if len(queries) != len(truth) or not len(queries) or not depths:
        raise InvalidInput(f"expected depths, and truth for each query: {len(queries)} queries, {len(truth)} truths")
    deepest = max(depths)
    hits = np.zeros(len(depths))
    counts = np.zeros(len(depths))
    for query, (_, true_distances) in zip(queries, truth, strict=True):
        positions, _ = scan(segments, query, deepest, masks)
        due = min(k, len(true_distances))
        limit = float(true_distances[due - 1]) if due else 0.0
        good = exact_distances(query, positions, vectors_at, spec) <= limit + _TOLERANCE * abs(limit)
        for number, depth in enumerate(depths):
            hits[number] += min(int(np.count_nonzero(good[:depth])), due) / due if due else 1.0
            counts[number] += min(depth, len(positions))
    times = [_time(segments, queries, spec, (k, depth), vectors_at, masks) for depth in depths]
    return [
        Measured(depth=depth, recall=float(hit), candidates=float(count), seconds=seconds)
        for depth, hit, count, seconds in zip(depths, hits / len(queries), counts / len(queries), times, strict=True)
    ]


def _time(
    segments: Sequence[CodeSegment],
    queries: NDArray[Any],
    spec: VectorSpec,
    effort: tuple[int, int],
    vectors_at: VectorsAt,
    masks: Sequence[NDArray[np.bool_] | None] | None,
) -> float:
    k, depth = effort
    seconds = []
    for query in queries[:_TIMED]:
        start = time.perf_counter()
        rerank(query, scan(segments, query, depth, masks)[0], vectors_at, spec, k)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
