"""The choice between ways to find the nearest rows, by what each is expected to cost.

The costs are milliseconds of one query on one core, measured with 256 dimensions; only their ratios
matter. Every way returns min(k, passing) rows; all but the code scan are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from vicinal.engine.codes.calibration import depth_for

if TYPE_CHECKING:
    from vicinal.engine.codes.calibration import Calibration
    from vicinal.engine.codes.held import Coded
    from vicinal.vectors import VectorSpec

Way = Literal["exact scan", "exact over the few that pass", "code scan", "hnsw", "ivf", "scann"]

EXACT_RECALL: Final = 0.9995
"""Asked for more, a search is exact."""
_CALL: Final = 0.03
_EXACT_PER_BYTE, _EXACT_PER_BYTE_FROM_FILE = 3.5e-8, 4e-7
_BATCH_PER_NUMBER: Final = 1e-8
_FEW_PER_ROW, _FEW_PER_BYTE, _FEW_PER_ROW_FROM_FILE = 2e-4, 1.5e-7, 6e-3
_CODES_PER_BYTE, _CODES_PER_CANDIDATE, _CODES_CALL = 2.6e-8, 2.2e-4, 0.12
_MASKED: Final = 1.6
_BATCHED: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known before a search: rows and how many of them pass, what is in memory, what is asked."""

    rows: int
    passing: int
    filtered: bool
    queries: int
    k: int
    recall: float
    exact: bool
    in_memory: bool
    chosen: Way | None = None
    """The way that goes with the kind chosen by hand: taken wherever it can serve the request."""
    offered: Way | None = None
    """The graph or the lists that can serve, chosen by hand or not."""
    offered_ms: float = math.inf
    """What these are expected to cost, without a filter."""
    depth: int | None = None
    """Candidates of the code scan, where the caller says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The way chosen, the candidates to compare exactly, its expected milliseconds, and those of the others."""

    way: Way
    depth: int
    expected_ms: float
    rejected: dict[str, float]


class _Known(NamedTuple):
    """What a plan depends on of a field's codes."""

    bits: int
    code_bytes: int
    calibration: Calibration | None


def choose(situation: Situation, spec: VectorSpec, coded: Coded | None) -> Plan:
    """Return the cheapest plan that meets the asked recall."""
    known = None
    if coded is not None:
        known = _Known(coded.codebook.bits, coded.codebook.code_bytes, coded.calibration)
    return _chosen(situation, spec, known)


@lru_cache(maxsize=256)
def _chosen(situation: Situation, spec: VectorSpec, known: _Known | None) -> Plan:
    costs: dict[Way, float] = {"exact scan": _exact(situation, spec)}
    if situation.filtered and situation.queries == 1:
        costs["exact over the few that pass"] = _few(situation, spec)
    depth = situation.passing
    usable = not situation.exact and (situation.recall <= EXACT_RECALL or situation.depth is not None)
    if known is not None and usable:
        depth = situation.depth or depth_for(
            situation.recall, situation.k, situation.rows, known.bits, known.calibration
        )
        if depth < situation.passing:
            costs["code scan"] = _codes(situation, known.code_bytes, depth)
    if situation.offered is not None:
        costs[situation.offered] = situation.offered_ms * (situation.rows / max(1, situation.passing))
    able = [each for each in costs if each in (situation.chosen, "exact over the few that pass")]
    way = min(able if situation.chosen in costs else costs, key=lambda each: costs[each])
    rejected: dict[str, float] = {each: cost for each, cost in costs.items() if each != way}
    depth = depth if way == "code scan" else situation.passing
    return Plan(way=way, depth=depth, expected_ms=costs[way], rejected=rejected)


def _exact(situation: Situation, spec: VectorSpec) -> float:
    if situation.queries > 1:
        return _CALL + situation.rows * spec.dim * _BATCH_PER_NUMBER
    per_byte = _EXACT_PER_BYTE if situation.in_memory else _EXACT_PER_BYTE_FROM_FILE
    return _CALL + situation.rows * spec.row_bytes * per_byte


def _few(situation: Situation, spec: VectorSpec) -> float:
    per_row = _FEW_PER_ROW + spec.row_bytes * _FEW_PER_BYTE
    if not situation.in_memory:
        per_row += _FEW_PER_ROW_FROM_FILE
    return _CALL + situation.rows * 1e-7 + situation.passing * per_row


def _codes(situation: Situation, code_bytes: int, depth: int) -> float:
    scan = situation.rows * code_bytes * _CODES_PER_BYTE
    if situation.queries > 1:
        scan *= _BATCHED
    if situation.filtered:
        scan *= _MASKED
    return _CODES_CALL + scan + depth * _CODES_PER_CANDIDATE
