"""A batch of rows, checked and encoded before any lock is taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicinal.values import Id


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldVectors:
    """Vectors of one field for some rows of a batch.

    vectors: shape (m, width), storage type. rows: positions in the batch, ascending, shape (m,).
    dim: what the vectors say; it becomes the field's where that has none yet.
    """

    vectors: NDArray[np.generic]
    rows: NDArray[np.int64]
    dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """`n` rows as columns; a column that was not given is None."""

    n: int
    collection: int | None = None
    """Identity of the collection it was prepared for."""
    ids: list[Id] | None = None
    vectors: dict[str, FieldVectors] = field(default_factory=dict)
    documents: list[str | None] | None = None
    metadata: list[str | None] | None = None
    """JSON texts."""
    expires: list[int | None] | None = None
    """UTC microseconds."""
    unset: tuple[str, ...] = ()
    """Metadata keys to remove, for updates."""
