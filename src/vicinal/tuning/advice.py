"""Which kind suits a collection: what was measured on a sample, extrapolated to all rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vicinal.tuning.trials import Trial, Tuning

_SLACK: Final = 0.015
"""Measured recalls scatter by so much; less than asked by more than this is too little."""
_MUCH: Final = 0.8
"""A kind that must be built is advised if its searches take less than this share of a scan's."""
# How latency beyond that of a call grows with the rows at equal recall: the power's bounds. Full scans know theirs.
# Graphs took 2 to 3 times as long over 5 times the rows (20,000 and 100,000 sentences); steps of `ef` may hide that.
_POWERS: Final = {"flat": (1.0, 1.0), "scan": (0.9, 1.05), "hnsw": (0.5, 0.8), "ivf": (0.4, 1.0), "scann": (0.4, 1.0)}
_OF_FLAT: Final = 0.7
"""A scan of codes takes at least this share of what an exact scan takes per byte, which a small sample may hide."""
_BUILD_POWERS: Final = {"flat": 1.0, "scan": 1.0, "hnsw": 1.1, "ivf": 1.5, "scann": 1.4}
_WITHOUT_BUILD: Final = frozenset({"flat", "scan"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a trial is expected to be over all rows of the collection, at the recall asked for."""

    trial: Trial
    recall: float
    p50_ms: float
    build_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The kind to choose with its parameters, a sentence that says why, and the forecasts it rests on."""

    kind: str
    parameters: dict[str, int]
    text: str
    extrapolated: bool
    forecasts: tuple[Forecast, ...]


def advise(tuning: Tuning) -> Advice:
    """Return what to choose. What must be built first must be faster by a fifth than what need not."""
    forecasts = tuple(found for trial in tuning.trials if (found := _forecast(trial, tuning)) is not None)
    able = [each for each in forecasts if each.recall >= tuning.recall - _SLACK] or list(forecasts)
    simple = [each for each in able if each.trial.kind in _WITHOUT_BUILD] or able
    best = min(simple, key=lambda each: each.p50_ms)
    for each in sorted(able, key=lambda each: each.p50_ms, reverse=True):
        if each.p50_ms < _MUCH * min(simple, key=lambda one: one.p50_ms).p50_ms:
            best = each
    return Advice(
        kind=best.trial.kind,
        parameters=best.trial.parameters,
        text=_sentence(best, able, tuning),
        extrapolated=tuning.rows > tuning.sample,
        forecasts=forecasts,
    )


def _forecast(trial: Trial, tuning: Tuning) -> Forecast | None:
    point = trial.at(tuning.recall) or (trial.points[-1] if trial.points else None)
    if point is None:
        return None
    factor = max(1.0, tuning.rows / tuning.sample)
    beyond = max(0.0, point.p50_ms - tuning.call_ms, _least(trial, tuning))
    return Forecast(
        trial=trial,
        recall=point.recall,
        p50_ms=max(0.0, point.p50_ms - beyond)
        + beyond * factor ** _power(trial, tuning.sample, beyond, tuning.call_ms),
        build_seconds=trial.build_seconds * factor ** _BUILD_POWERS[trial.kind],
        memory_bytes=round(trial.memory_bytes * factor),
    )


def _least(trial: Trial, tuning: Tuning) -> float:
    """Return the least milliseconds that grow with the rows: of a scan, by its bytes beside those of an exact scan."""
    flat = next((each.points[-1].p50_ms for each in tuning.trials if each.kind == "flat" and each.points), 0.0)
    bits = trial.parameters.get("bits", 1) if trial.kind == "scan" else 0
    return max(0.0, flat - tuning.call_ms) * _OF_FLAT * bits / 32


def _power(trial: Trial, sample: int, beyond: float, call_ms: float) -> float:
    """Return with which power of the rows latency grows, by the smaller sample where there is one."""
    low, high = _POWERS[trial.kind]
    if trial.smaller is None or sample <= trial.smaller[0] or beyond <= 0.0:
        return high
    before = max(trial.smaller[1] - call_ms, beyond / 1000)
    return min(high, max(low, math.log(beyond / before) / math.log(sample / trial.smaller[0])))


def _sentence(best: Forecast, able: list[Forecast], tuning: Tuning) -> str:
    figures = f"recall {best.recall:.3f} at {best.p50_ms:.2f} ms for {tuning.rows:,} rows"
    if tuning.rows > tuning.sample:
        figures += f" (latency extrapolated from {tuning.sample:,} rows, not measured)"
    others = [each for each in able if each.trial.kind != best.trial.kind]
    if not others:
        return f"{best.trial.name}: {figures}; nothing else reaches the recall {tuning.recall:g}"
    rival = min(others, key=lambda each: each.p50_ms)
    against = f"{rival.trial.name} takes {rival.p50_ms:.2f} ms"
    if best.trial.kind in _WITHOUT_BUILD:
        why = "it needs no building and takes every insert at once"
        if best.trial.kind == "scan":
            why += ", and 'auto' does the same"
    else:
        megabytes = best.memory_bytes / (1 << 20)
        why = (
            f"building takes about {best.build_seconds:,.0f} s, again when a fifth of the rows has changed, "
            f"and {megabytes:,.0f} MB of memory"
        )
    return f"{best.trial.name}: {figures}; {against}; {why}"
