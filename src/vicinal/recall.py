"""The recall of answers, measured against exact ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vicinal.report import Recall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.results import Hits

_TOLERANCE = 1e-6
_RESAMPLES = 1000


def measured(
    found: Sequence[Hits], exact: Sequence[Hits], own: Sequence[object] | None, asked: tuple[float, int]
) -> Recall:
    """Return the share of the true nearest that was found, with a 95 % bootstrap interval.

    own: the ids of the rows that stood in for queries, left out of their own answers. asked: recall and k. A hit
    counts if its distance is at most that of the true k-th (1e-6 relative).
    """
    recall, k = asked
    pairs = [
        (_others(mine, None if own is None else own[at]), _others(true, None if own is None else own[at]))
        for at, (mine, true) in enumerate(zip(found, exact, strict=True))
    ]
    shares = np.array([_share(mine, true, k) for mine, true in pairs if len(true)])
    if not len(shares):
        return Recall(recall=1.0, low=0.0, high=1.0, asked=recall, k=k, queries=0)
    rng = np.random.default_rng(0)
    means = rng.choice(shares, (_RESAMPLES, len(shares))).mean(axis=1)
    low, high = (float(bound) for bound in np.quantile(means, (0.025, 0.975)))
    return Recall(recall=float(shares.mean()), low=low, high=high, asked=recall, k=k, queries=len(shares))


def _others(hits: Hits, own: object) -> NDArray[np.float32]:
    """Return the distances of an answer without the query's own row."""
    found: NDArray[np.float32] = hits.distances[[identity != own for identity in hits.ids]]
    return found


def _share(found: NDArray[np.float32], exact: NDArray[np.float32], k: int) -> float:
    due = min(k, len(exact))
    limit = float(exact[due - 1])
    return min(int(np.count_nonzero(found <= limit + _TOLERANCE * abs(limit))), due) / due
