"""How hard a graph or lists must look for a recall: measured when they are built, or assumed where that was too little.

An effort has two numbers. The *level* is the kind's own knob: `ef` of a graph, `nprobe` of lists. The *depth* is how
many of the candidates are compared exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from vicinal.engine.codes.calibration import DEPTHS, K_MEASURED, reaching, share_of
from vicinal.errors import Corrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Missed = tuple[tuple[float, float], ...]
"""The missed share and its standard error at each of `DEPTHS`."""

KNOBS: Final[Mapping[str, str]] = {"hnsw": "ef", "ivf": "nprobe", "scann": "nprobe"}
_CANDIDATE_MS: Final = 2.2e-4
_CALL_MS: Final = 0.05
_LEAST_DEPTH: Final = 16
_BETWEEN: Final = (0.25, 0.5, 0.75, 1.0)
_EF_MS: Final = 2.5e-3
_ROW_MS: Final = {"ivf": 2e-4, "scann": 4e-6}
# Missed at these levels, where nothing was measured: more than most data miss.
_ASSUMED_EF: Final = {16: 0.3, 32: 0.2, 64: 0.1, 128: 0.05, 256: 0.02, 512: 0.01, 1024: 0.004}
_ASSUMED_SHARE: Final = {1 / 64: 0.4, 1 / 32: 0.25, 1 / 16: 0.15, 1 / 8: 0.07, 1 / 4: 0.03, 1 / 2: 0.005, 1: 0.0}
_ASSUMED_DEPTH: Final = (0.3, 0.15, 0.06, 0.03, 0.012, 0.005, 0.002, 0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """A level and a depth; the milliseconds and the recall expected of them, None where nothing was measured."""

    level: int
    depth: int
    expected_ms: float
    recall: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EffortCalibration:
    """What a graph or lists miss, by level and depth.

    levels: ascending. ms: of one search at each, without comparing candidates. missed: for each k measured, one
    `Missed` per level. queries: how many were asked; 0 where all is assumed. far: the distance beyond which the
    tenth nearest is farther than it was for nearly all of them.
    """

    queries: int
    levels: tuple[int, ...]
    ms: tuple[float, ...]
    missed: Mapping[int, tuple[Missed, ...]]
    far: float = math.inf

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        missed = {str(k): [[list(pair) for pair in each] for each in levels] for k, levels in self.missed.items()}
        return {
            "queries": self.queries,
            "levels": list(self.levels),
            "ms": list(self.ms),
            "missed": missed,
            "far": self.far,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> EffortCalibration:
        """Return the calibration of plain values. Raises Corrupted."""
        try:
            levels = tuple(_number(each, 1, 1 << 31) for each in found["levels"])
            missed = {
                _number(k, 1, 1 << 31): tuple(
                    tuple((share_of(mean), share_of(error)) for mean, error in each) for each in per_level
                )
                for k, per_level in found["missed"].items()
            }
            ms = tuple(_milliseconds(each) for each in found["ms"])
            queries, far = _number(found["queries"], 0, 1 << 31), float(found["far"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            message = "the stored efforts of an index are damaged"
            raise Corrupted(message) from error
        whole = bool(levels) and len(ms) == len(levels) and bool(missed) and list(levels) == sorted(set(levels))
        if not whole or math.isnan(far) or any(len(each) != len(levels) for each in missed.values()):
            message = "the stored efforts of an index are incomplete"
            raise Corrupted(message)
        if any(len(depths) != len(DEPTHS) for each in missed.values() for depths in each):
            message = "the stored efforts of an index are incomplete"
            raise Corrupted(message)
        return cls(queries=queries, levels=levels, ms=ms, missed=missed, far=far)

    def harder(self, other: EffortCalibration | None) -> EffortCalibration:
        """Return the figures of whichever queries miss more; what was not measured is as at the last level that was."""
        if other is None:
            return self
        long, short = sorted((self, other), key=lambda each: len(each.levels), reverse=True)
        ahead = len(long.levels) - len(short.levels)
        missed = {
            k: tuple(
                tuple(max(pair) for pair in zip(mine, theirs, strict=True))
                for mine, theirs in zip(levels, (*short.missed[k], *short.missed[k][-1:] * ahead), strict=True)
            )
            for k, levels in long.missed.items()
        }
        far = max(self.far, other.far)
        return replace(long, queries=long.queries + short.queries, missed=missed, far=far)

    def choose(self, recall: float, k: int) -> Effort | None:
        """Return the cheapest effort for `recall` of the k nearest; None where none that was measured reaches it."""
        return _remembered(self, recall, k)

    def _cheapest(self, recall: float, k: int) -> Effort | None:
        # Asked for again with every search.
        known = self._known(k)
        more = max(1.0, k / known) ** 0.8
        best: Effort | None = None
        for level, ms, missed in self._finer(known):
            depth = reaching(1.0 - recall, missed)
            if depth is None:
                continue
            wanted = max(math.ceil(depth * more), 2 * k, _LEAST_DEPTH)
            cost = _CALL_MS + ms * more + wanted * _CANDIDATE_MS
            if best is None or cost < best.expected_ms:
                level_now = math.ceil(level * more)
                best = Effort(level=level_now, depth=wanted, expected_ms=cost, recall=self.recall(level, wanted, k))
        return best

    def _finer(self, k: int) -> Iterator[tuple[int, float, Missed]]:
        """Yield the levels with their costs and what they miss, and others between: these miss less than the chord."""
        measured = list(zip(self.levels, self._costs(), self.missed[k], strict=True))
        yield measured[0]
        for (low, low_ms, more), (high, high_ms, fewer) in pairwise(measured):
            for part in _BETWEEN:
                missed = tuple(
                    (m0 + part * (m1 - m0), e0 + part * (e1 - e0))
                    for (m0, e0), (m1, e1) in zip(more, fewer, strict=True)
                )
                yield math.ceil(low + part * (high - low)), low_ms + part * (high_ms - low_ms), missed

    def given(self, knob: str, explicit: Mapping[str, int], k: int, recall: float) -> Effort:
        """Return the effort of explicit numbers; what is not given is taken from that of `recall`, or is ample."""
        usual = self.choose(recall, k)
        level = explicit.get(knob) or (usual.level if usual is not None else self.levels[-1])
        ample = max(_LEAST_DEPTH, 4 * k, 0 if usual is None else usual.depth)
        # A walk keeps at least as many rows in view as it returns: a small `ef` shall stay small.
        depth = max(k, explicit.get("depth") or (min(ample, level) if knob == "ef" else ample))
        ms = self._costs()[self._at(level)] * level / self.levels[self._at(level)]
        expected = _CALL_MS + ms + depth * _CANDIDATE_MS
        return Effort(level=level, depth=depth, expected_ms=expected, recall=self.recall(level, depth, k))

    def recall(self, level: int, depth: int, k: int) -> float | None:
        """Return what was measured at the next lower level and depth; None where nothing was."""
        if not self.queries:
            return None
        missed = self.missed[self._known(k)][self._at(level)]
        return 1.0 - missed[max(0, sum(each <= depth for each in DEPTHS) - 1)][0]

    def _known(self, k: int) -> int:
        return min((each for each in self.missed if each >= k), default=max(self.missed))

    def _at(self, level: int) -> int:
        return max(0, sum(each <= level for each in self.levels) - 1)

    def _costs(self) -> list[float]:
        """Return milliseconds that do not fall as the level grows, whatever the clock said."""
        costs = list(self.ms)
        for at in range(len(costs) - 1, 0, -1):
            costs[at - 1] = min(costs[at - 1], costs[at])
        return costs


@lru_cache(maxsize=256)
def _remembered(calibration: EffortCalibration, recall: float, k: int) -> Effort | None:
    return calibration._cheapest(recall, k)  # noqa: SLF001 - its own class


def levels_of(kind: str, nlist: int | None) -> tuple[int, ...]:
    """Return the levels to measure, each half as much again as the one before: ef of graphs, or up to all lists."""
    if kind == "hnsw":
        return (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
    most, levels = nlist or 1, [1]
    while levels[-1] < most:
        levels.append(min(most, max(levels[-1] + 1, math.ceil(levels[-1] * 1.5))))
    return tuple(levels)


def assumed(kind: str, rows: int, nlist: int | None) -> EffortCalibration:
    """Return what to expect of an index that was not measured."""
    if kind == "hnsw":
        missing = dict(_ASSUMED_EF)
        ms = [level * _EF_MS for level in missing]
    else:
        missing = {max(1, math.ceil(share * (nlist or 1))): missed for share, missed in _ASSUMED_SHARE.items()}
        ms = [rows * level / (nlist or 1) * _ROW_MS[kind] for level in missing]
    deep = _ASSUMED_DEPTH if kind == "scann" else (0.0,) * len(DEPTHS)
    per_level = tuple(tuple((min(1.0, missed + each), 0.0) for each in deep) for missed in missing.values())
    return EffortCalibration(
        queries=0, levels=tuple(missing), ms=tuple(ms), missed=dict.fromkeys(K_MEASURED, per_level)
    )


def lists_ms(kind: str, rows: float) -> float:
    """Return the milliseconds of comparing so many rows of lists."""
    return rows * _ROW_MS[kind]


def _number(value: object, low: int, high: int) -> int:
    number = int(value)  # type: ignore[call-overload]
    if not low <= number <= high:
        raise ValueError(number)
    return int(number)


def _milliseconds(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not 0.0 <= number < 1e9:
        raise ValueError(number)
    return number
