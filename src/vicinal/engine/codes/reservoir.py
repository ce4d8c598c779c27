"""A sample of the queries that were asked: what calibration measures beside the collection's own rows."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT: Final = 128
_ENOUGH: Final = 64
_GROWN: Final = 16


class Reservoir:
    """An even sample of the queries seen (Vitter, "Random sampling with a reservoir", 1985)."""

    def __init__(self) -> None:
        self.seen = 0
        self.measured = 0
        """How many had been seen when they were measured last."""
        self._kept: list[NDArray[Any]] = []

    def note(self, queries: NDArray[Any]) -> None:
        """See some queries (n, width); of a large batch, the first ones."""
        for query in queries[:_KEPT]:
            self.seen += 1
            at = len(self._kept) if len(self._kept) < _KEPT else random.randrange(self.seen)  # noqa: S311
            self._kept[at : at + 1] = [query.copy()] if at < _KEPT else []

    def queries(self) -> NDArray[Any] | None:
        """Return the sample (n, width), None where there are too few."""
        kept = list(self._kept)
        return np.stack(kept) if len(kept) >= _ENOUGH else None

    @property
    def unmeasured(self) -> bool:
        """Whether so many queries came since the last measurement that another one tells more."""
        return self.seen >= _ENOUGH and self.seen > _GROWN * self.measured
