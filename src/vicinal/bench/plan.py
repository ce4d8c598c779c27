"""What is to be measured, apart from the data."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vicinal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Plan"]

MAX_K = 1000


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    k: nearest rows per query.
    threads: cores each engine may use, and clients that ask at the same time where that is measured.
    batch_sizes: rows per call whose insert throughput is measured; those above the number of rows are left out.
    seconds: limit of each single measurement; fewer queries are asked, or rows inserted, where it is reached.
        Throughput of searches is measured for a third of it.
    timeout: seconds after which an engine is stopped and counts as failed.
    efforts: values that replace an engine's own, by the engine's name: recall targets for vicinal, ef for
        graphs, re-ranked candidates per result for codes.
    """

    k: int = 10
    threads: int = field(default_factory=processors)
    batch_sizes: tuple[int, ...] = (1, 100, 1000, 10_000)
    seconds: float = 3.0
    timeout: float = 3600.0
    efforts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("k", self.k, 1, MAX_K),
            ("threads", self.threads, 1, 1024),
            ("seconds", self.seconds, 0.01, 3600),
            ("timeout", self.timeout, 1, 30 * 24 * 3600),
            *(("a batch size", size, 1, 1_000_000) for size in self.batch_sizes),
        ):
            if not low <= value <= high:
                message = f"{name} is between {low:,} and {high:,}, not {value:,}"
                raise InvalidInput(message)
        for name, values in self.efforts.items():
            if not values or not all(0 < value <= 1_000_000 for value in values):
                message = f"efforts of {name!r} are numbers above 0, not {list(values)}"
                raise InvalidInput(message)
