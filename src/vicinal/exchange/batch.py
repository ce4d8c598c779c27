"""The unit of exchange: some rows as columns, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from vicinal.exchange.spec import Spec
    from vicinal.values import Id

__all__ = ["BATCH_BYTES", "ONLY", "Batch", "Source", "VectorColumn"]

VectorColumn: TypeAlias = NDArray[np.generic] | list[object]
T = TypeVar("T")

ONLY = ""
"""Stands for the vector field of a collection that has one, whatever its name."""

BATCH_BYTES = 64 * 1024 * 1024
"""A batch ends early when it has taken this much of its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows as columns; a column that the source does not have is None.

    vectors: by field (`ONLY` where the source does not say which); an array of shape (n, dim), or a
    list in which None stands for a row without a vector.
    numbers: the line, or the position from 1, of each row in the source, for messages; `unit` says which.
    done: how much of the source has been read after this batch, from 0 to 1.
    """

    numbers: Sequence[int]
    unit: str = "row"
    ids: list[Id] | None = None
    vectors: dict[str, VectorColumn] | None = None
    documents: list[str | None] | None = None
    metadata: list[dict[str, object]] | None = None
    expires: list[datetime | None] | None = None
    done: float = 0.0

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, positions: Sequence[int]) -> Batch:
        """Return these rows only."""
        vectors: dict[str, VectorColumn] | None = None
        if self.vectors is not None:
            vectors = {
                name: _chosen(column, positions) if isinstance(column, list) else column[list(positions)]
                for name, column in self.vectors.items()
            }
        return replace(
            self,
            numbers=[self.numbers[position] for position in positions],
            ids=_chosen(self.ids, positions) if self.ids is not None else None,
            vectors=vectors,
            documents=_chosen(self.documents, positions) if self.documents is not None else None,
            metadata=_chosen(self.metadata, positions) if self.metadata is not None else None,
            expires=_chosen(self.expires, positions) if self.expires is not None else None,
        )


def _chosen(column: list[T], positions: Sequence[int]) -> list[T]:
    return [column[position] for position in positions]


class Source(Protocol):
    """A file or folder that can be read, more than once, as batches."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def spec(self) -> Spec | None:
        """The collection that it was exported from, if it was."""
        ...

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield at most `size` rows at a time, in order; memory holds one batch."""
        ...
