"""What the approximate indexes have in common: candidates for a query, under a mask, at an effort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vicinal.errors import InvalidInput
from vicinal.index.graph import Graph
from vicinal.index.lists import CodedLists, Lists
from vicinal.index.scan import CodeSegment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Approximate", "Effort", "Index", "candidates_of"]

Index = CodeSegment | Graph | Lists | CodedLists
"""Every kind there is: a quantised scan, a graph (hnsw), lists (ivf), coded lists (scann)."""


class Approximate(Protocol):
    """An immutable run of rows that answers with likely neighbours; threads may search one at the same time.

    Positions start at `first`. min(depth, passing) of them come back, each once, int64, every one
    passing the mask, nearest first by approximate values, float32, smaller when nearer. Which these
    are is the kind's own business: they compare among indexes of one kind and field, not with
    distances. Callers re-rank (`rerank`). More effort (a greater depth, `ef`, `nprobe`) costs time
    and does not lose rows in the mean; at the greatest, every row is compared. Vectors, codes and
    arrays that an index was given are not written to, and must not change while it lives.
    """

    first: int

    def __len__(self) -> int:
        """Return the number of rows."""

    @property
    def nbytes(self) -> int:
        """Memory held."""

    def candidates(
        self, query: NDArray[Any], depth: int, mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and approximate values for a query (dim,), at the kind's default effort.

        `mask` (n,) is true for the rows that may be found. Raises InvalidInput for a mask or a query
        of another shape, or a query that is not finite.
        """


_KINDS: tuple[type[Approximate], ...] = (CodeSegment, Graph, Lists, CodedLists)
"""For the type checker: each keeps the contract's signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard to look: `depth` candidates come back; `ef` is for graphs, `nprobe` for lists, or the default."""

    depth: int
    ef: int | None = None
    nprobe: int | None = None

    def __post_init__(self) -> None:
        for name in ("depth", "ef", "nprobe"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name} must be at least 1, got {value}")


def candidates_of(
    index: Index, query: NDArray[Any], effort: Effort, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what `index.candidates` does at this effort; what is not for its kind is ignored."""
    if isinstance(index, Graph):
        return index.candidates(query, effort.depth, mask, ef=effort.ef)
    if isinstance(index, Lists | CodedLists):
        return index.candidates(query, effort.depth, mask, nprobe=effort.nprobe)
    return index.candidates(query, effort.depth, mask)
