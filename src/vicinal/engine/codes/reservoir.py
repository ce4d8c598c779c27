"""A sample of the queries that were asked: what calibration measures beside the collection's own rows."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT: Final = 128
_ENOUGH: Final = 64
_GROWN: Final = 16
_ALMOST_ALL: Final = 1.0 - 1e-9


class Reservoir:
    """An even sample of the queries seen, most of which are only counted.

    Algorithm L of Li, "Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))", 1994.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.measured = 0
        """How many had been seen when they were measured last."""
        self._kept: list[NDArray[Any]] = []
        self._next = 0
        """The number of the next query to keep."""
        self._share = 1.0

    def note(self, queries: NDArray[Any]) -> None:
        """See some queries (n, width); of a large batch, the first ones."""
        n, seen = min(len(queries), _KEPT), self.seen
        self.seen = seen + n
        while self._next < seen + n:  # threads may miss one of each other's, and no more
            self._keep(queries[max(0, self._next - seen)].copy())

    def _keep(self, query: NDArray[Any]) -> None:
        if len(self._kept) < _KEPT:
            self._kept.append(query)
        else:
            self._kept[random.randrange(_KEPT)] = query  # noqa: S311
        self._next += 1
        if len(self._kept) >= _KEPT:
            self._share = min(_ALMOST_ALL, self._share * (1.0 - random.random()) ** (1.0 / _KEPT))  # noqa: S311
            self._next += int(math.log(1.0 - random.random()) / math.log1p(-self._share))  # noqa: S311

    def queries(self) -> NDArray[Any] | None:
        """Return the sample (n, width), None where there are too few."""
        kept = list(self._kept)
        return np.stack(kept) if len(kept) >= _ENOUGH else None

    @property
    def unmeasured(self) -> bool:
        """Whether so many queries came since the last measurement that another one tells more."""
        return self.seen >= _ENOUGH and self.seen > _GROWN * self.measured
