"""How many candidates a recall takes: measured on the collection itself, or assumed until then."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from vicinal.errors import Corrupted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEPTHS: Final = (16, 32, 64, 128, 256, 512, 1024, 2048)
K_MEASURED: Final = (1, 10, 100)
K_FAR: Final = 10
# Share of the ten nearest that is missed at each of DEPTHS, as measured on hard data (1,000,000 sentences)
# with one and two bits per dimension; larger than most collections miss.
_ASSUMED: Final = {
    1: (0.50, 0.32, 0.20, 0.12, 0.055, 0.022, 0.009, 0.004),
    2: (0.20, 0.06, 0.02, 0.006, 0.002, 0.001, 0.0005, 0.0003),
}
_ERRORS: Final = 1.5
_ASSUMED_ROWS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Share of the nearest that codes miss, by depth (candidates compared exactly).

    rows: how many were searched. missed: for each k measured, the missed share at each of `DEPTHS`, with its
    standard error. expected: what `expected_recall` says of such unfiltered queries at each of `DEPTHS`.
    far: the distance beyond which the tenth nearest is farther than it was for nearly all queries measured.
    """

    rows: int
    queries: int
    missed: Mapping[int, tuple[tuple[float, float], ...]]
    expected: tuple[float, ...] = field(default=())
    far: float = math.inf

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        missed = {str(k): [list(pair) for pair in pairs] for k, pairs in self.missed.items()}
        expected = list(self.expected)
        return {
            "rows": self.rows, "queries": self.queries, "missed": missed, "expected": expected, "far": self.far
        }  # fmt: skip

    @classmethod
    def from_dict(cls, found: Mapping[str, Any] | None) -> Calibration | None:
        """Return the calibration of plain values, None for None. Raises Corrupted."""
        if found is None:
            return None
        try:
            missed = {
                int(k): tuple((share_of(mean), share_of(error)) for mean, error in pairs)
                for k, pairs in found["missed"].items()
            }
            rows, queries = int(found["rows"]), int(found["queries"])
            expected, far = tuple(map(share_of, found["expected"])), float(found["far"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            message = "the stored calibration is damaged"
            raise Corrupted(message) from error
        whole = all(len(pairs) == len(DEPTHS) for pairs in missed.values()) and len(expected) in (0, len(DEPTHS))
        if not missed or not whole or min(rows, queries, *missed) < 1 or math.isnan(far):
            message = "the stored calibration is incomplete"
            raise Corrupted(message)
        return cls(rows=rows, queries=queries, missed=missed, expected=expected, far=far)


def share_of(value: object) -> float:
    """Return a stored share. Raises ValueError or TypeError where it is none."""
    number = float(value)  # type: ignore[arg-type]
    if not 0.0 <= number <= 1.0:
        raise ValueError(number)
    return number


def depth_for(recall: float, k: int, n_rows: int, bits: int, calibration: Calibration | None) -> int:
    """Return how many candidates to compare for `recall` of the k nearest among `n_rows`."""
    allowed = 1.0 - recall
    if calibration is None:
        scale = max(1.0, _denser(n_rows, _ASSUMED_ROWS)) * _more(k, 10)
        depth = _depth(allowed, [(missed, 0.0) for missed in _ASSUMED[bits]]) * scale
    else:
        # The nearest are missed less than those farther away, of which more were measured: the figures of a
        # larger k hold for a smaller one, too, and tell where its own are too few to tell.
        known = [each for each in calibration.missed if each >= k] or [max(calibration.missed)]
        grown = max(1.0, _denser(n_rows, calibration.rows))
        depth = min(_depth(allowed, calibration.missed[each]) for each in known) * grown * _more(k, known[-1])
    return max(math.ceil(depth), 2 * k, 16)


@lru_cache(maxsize=256)
def recall_of(depth: int, k: int, calibration: Calibration | None) -> float | None:
    """Return the measured recall of a depth, None where nothing was measured."""
    if calibration is None:
        return None
    known = min((each for each in calibration.missed if each >= k), default=max(calibration.missed))
    missed = [max(mean, 1e-6) for mean, _ in calibration.missed[known]]
    at = math.log2(max(depth, DEPTHS[0]) / DEPTHS[0])
    low = min(int(at), len(DEPTHS) - 2)
    slope = math.log(missed[low + 1] / missed[low])
    return 1.0 - min(1.0, missed[low] * math.exp(slope * (min(at, len(DEPTHS) - 1) - low)))


def _denser(n_rows: int, than: int) -> float:
    """Return how many times the depth more rows take.

    Between its root (measured from 100,000 to 1,000,000 sentences) and the factor itself (fixed clusters).
    """
    return float((n_rows / than) ** 0.8)


def _more(k: int, known: int) -> float:
    return float(max(1.0, k / known) ** 0.8)


def _depth(allowed: float, missed: Sequence[tuple[float, float]]) -> float:
    return reaching(allowed, missed) or _beyond(allowed, missed)


def reaching(allowed: float, missed: Sequence[tuple[float, float]]) -> float | None:
    """Return the depth at which, with some standard errors in hand, no more than `allowed` is missed; None for none.

    missed: the missed share at each of `DEPTHS`, and its standard error. Between two depths it lies below the chord:
    it falls faster at first, and a measured 0 tells little of how fast.
    """
    curve = _curve(missed)
    if curve[-1] > allowed:
        return None
    at = next(number for number, each in enumerate(curve) if each <= allowed)
    if at == 0:
        return float(DEPTHS[0])
    fraction = (curve[at - 1] - allowed) / (curve[at - 1] - curve[at])
    return DEPTHS[at - 1] + (DEPTHS[at] - DEPTHS[at - 1]) * fraction


def _curve(missed: Sequence[tuple[float, float]]) -> list[float]:
    curve = [min(mean + _ERRORS * error, 1.0) for mean, error in missed]
    for at in range(len(curve) - 1, 0, -1):  # from the deepest: noise must not end the search early
        curve[at - 1] = max(curve[at - 1], curve[at])
    return curve


def _beyond(allowed: float, missed: Sequence[tuple[float, float]]) -> float:
    """Return a depth beyond those measured: the missed share is taken to fall as a power of it."""
    curve = [max(each, 1e-6) for each in _curve(missed)]
    fall = max(0.3, math.log(curve[-3] / curve[-1]) / math.log(DEPTHS[-1] / DEPTHS[-3]))
    return float(DEPTHS[-1] * min(16.0, (curve[-1] / allowed) ** (1.0 / fall)))
