"""What is measured on: vectors that are inserted, queries that never are, and the metric between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from vicinal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "HELD_OUT",
    "MAX_DIM",
    "MAX_VECTOR_BYTES",
    "METRICS",
    "OUTSIDE",
    "Dataset",
    "Metric",
    "QuerySet",
    "check_size",
    "checked",
    "hold_out",
]

Metric = Literal["cosine", "l2", "dot"]
METRICS: Final[tuple[Metric, ...]] = ("cosine", "l2", "dot")

HELD_OUT: Final = "held-out"
"""Queries from the distribution of the vectors."""
OUTSIDE: Final = "out-of-distribution"
"""Queries from another distribution."""

MAX_VECTOR_BYTES: Final = 16 << 30
MAX_DIM: Final = 65_536
_BLOCK = 65_536


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuerySet:
    """Queries of one kind: float32 of shape (n, dim)."""

    name: str
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Vectors, float32 of shape (n, dim), whose ids are their row numbers, with sets of queries.

    about: how it came to be, for the record.
    distances: of the nearest rows of the first query set as the file states them, ascending, or None.
    """

    name: str
    metric: Metric
    vectors: NDArray[np.float32]
    queries: tuple[QuerySet, ...]
    about: Mapping[str, object] = field(default_factory=dict)
    distances: NDArray[np.float64] | None = None

    @property
    def rows(self) -> int:
        """The number of vectors."""
        return int(self.vectors.shape[0])

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return int(self.vectors.shape[1])


def check_size(rows: int, dim: int, where: str) -> None:
    """Refuse what is empty, or would not fit as float32; called before anything is read or allocated."""
    if rows < 1 or dim < 1:
        message = f"{where}: no vectors in an array of {rows:,} x {dim:,}"
        raise InvalidInput(message)
    if dim > MAX_DIM:
        message = f"{where}: {dim:,} dimensions; at most {MAX_DIM:,} are measured"
        raise InvalidInput(message)
    if rows * dim * 4 > MAX_VECTOR_BYTES:
        size = rows * dim * 4 / (1 << 30)
        message = f"{where}: {rows:,} x {dim:,} is {size:,.1f} GB as float32, above 16 GB; use fewer rows with --rows"
        raise InvalidInput(message)


def checked(vectors: NDArray[np.float32], metric: Metric, where: str) -> NDArray[np.float32]:
    """Return vectors whose values can be compared. Raises InvalidInput naming the first row that cannot."""
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        bad = ~np.isfinite(block).all(axis=1)
        if bad.any():
            message = f"{where}: row {start + int(bad.argmax()):,} has a value that is not a finite float32"
            raise InvalidInput(message)
        zero = ~block.any(axis=1)
        if metric == "cosine" and zero.any():
            message = f"{where}: row {start + int(zero.argmax()):,} is zero, which has no cosine; use --metric l2"
            raise InvalidInput(message)
    return vectors


def hold_out(
    vectors: NDArray[np.float32], n_queries: int, seed: int, where: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (vectors, queries): rows taken out at random, at most a tenth of them, and the others."""
    n_rows = len(vectors)
    n_taken = min(n_queries, max(1, n_rows // 10))
    if n_rows < 2:
        message = f"{where}: one vector is too few to hold out a query"
        raise InvalidInput(message)
    taken = np.random.default_rng([seed, 1]).choice(n_rows, n_taken, replace=False)
    kept = np.ones(n_rows, bool)
    kept[taken] = False
    return vectors[kept], vectors[taken]
