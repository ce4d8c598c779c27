"""Measures recall with the very searches that users make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vicinal.report import Recall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from vicinal.results import BatchHits
    from vicinal.searching import Searching

_TOLERANCE = 1e-6
_RESAMPLES = 1000


def measured(
    collection: Searching,
    queries: Sequence[str] | ArrayLike,
    own: Sequence[object] | None,
    recall: float,
    options: Mapping[str, Any],
) -> Recall:
    """Return the share of the true nearest that searches for `recall` find, with a 95 % bootstrap interval.

    own: the ids of the rows that stand in for queries, left out of their own answers (then k is one more). A hit
    counts if its distance is at most that of the true k-th (1e-6 relative).
    """
    found = cast("BatchHits", collection.search_batch(queries, recall=recall, **options))
    exact = cast("BatchHits", collection.search_batch(queries, exact=True, **options))
    k = int(options["k"]) - (own is not None)
    shares = np.array(
        [
            _share(_others(found, at, own), _others(exact, at, own), k)
            for at in range(len(exact.distances))
            if len(_others(exact, at, own))
        ]
    )
    if not len(shares):
        return Recall(recall=1.0, low=0.0, high=1.0, asked=recall, k=k, queries=0)
    rng = np.random.default_rng(0)
    means = rng.choice(shares, (_RESAMPLES, len(shares))).mean(axis=1)
    low, high = (float(bound) for bound in np.quantile(means, (0.025, 0.975)))
    return Recall(recall=float(shares.mean()), low=low, high=high, asked=recall, k=k, queries=len(shares))


def _others(hits: BatchHits, at: int, own: Sequence[object] | None) -> NDArray[np.float32]:
    """Return the distances of the answer to query `at`, without the query's own row."""
    distances = hits.distances[at]
    keep = np.array([identity != (-1 if isinstance(identity, np.integer) else None) for identity in hits.ids[at]])
    if own is not None:
        keep &= hits.ids[at] != own[at]
    found: NDArray[np.float32] = distances[keep]
    return found


def _share(found: NDArray[np.float32], exact: NDArray[np.float32], k: int) -> float:
    due = min(k, len(exact))
    limit = float(exact[due - 1])
    return min(int(np.count_nonzero(found <= limit + _TOLERANCE * abs(limit))), due) / due
