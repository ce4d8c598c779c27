"""Search: which rows may be found, which of them are nearest, and what the hits carry."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from vicinal.engine import idmap, planner, resident
from vicinal.engine.codes.calibration import recall_of
from vicinal.engine.codes.held import Coded, Unusable, coded, is_scattered
from vicinal.engine.codes.search import CodeSearch, is_far
from vicinal.engine.read import expiries_of, metadata_of, spec_of, vectors_of
from vicinal.engine.structures import beside
from vicinal.engine.structures.search import WAYS, IndexSearch, explicit_depth, offered
from vicinal.engine.target import Field, Nearest
from vicinal.index import rerank, search_flat
from vicinal.indexing import AUTO
from vicinal.results import BatchHits, Hits
from vicinal.storage import rows
from vicinal.vectors import scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vicinal.engine.view import View
    from vicinal.request import SearchRequest
    from vicinal.storage.catalog import FieldRecord
    from vicinal.values import Id

_FEW_HITS: Final = 64


@dataclass(slots=True)
class Trace:
    """What a search did, for `explain`; times in milliseconds."""

    stages_ms: dict[str, float] = field(default_factory=dict)
    plan: str = "exact scan"
    rejected: dict[str, float] = field(default_factory=dict)
    rows_live: int = 0
    rows_passing: int = 0
    candidates: int = 0
    recall: float | None = 1.0
    streamed: bool = False
    cold: bool = False
    """Whether something is not in memory that there is room for."""
    notes: list[str] = field(default_factory=list)
    _clock: Callable[[], float] = time.perf_counter
    _last: float = field(default_factory=time.perf_counter)

    def stage(self, name: str) -> None:
        """Record the time since the last stage under `name`."""
        now = self._clock()
        self.stages_ms[name] = (now - self._last) * 1000
        self._last = now


def search(view: View, entry: FieldRecord, request: SearchRequest, threads: int, trace: Trace) -> list[Hits]:
    """Return one `Hits` per query of the request: min(k, passing) rows each."""
    spec = spec_of(entry)
    found = _nearest(view, entry, request, threads, trace)
    n_fields = len(view.record.fields)
    answers = []
    for numbers, distances in found:
        scored = scores(distances, spec.metric).astype(np.float32) if spec else distances
        if not request.include:
            ids = idmap.ids_of(view, numbers, lambda: _note_missing_ids(view, entry, trace))
            answers.append(Hits(ids=ids, scores=scored, distances=distances))
            continue
        stored = rows.by_numbers(view.session, view.record.id, numbers, n_fields)
        answers.append(
            Hits(
                ids=[row.id for row in stored],
                documents=[row.document for row in stored] if "document" in request.include else None,
                metadata=metadata_of(stored) if "metadata" in request.include else None,
                vectors=vectors_of(view, stored) if "vector" in request.include else None,
                expires=expiries_of(stored) if "expires" in request.include else None,
                scores=scored,
                distances=distances,
            )
        )
    trace.cold = trace.cold or beside.is_wanted(view, entry)
    trace.stage("fetch")
    return answers


def search_arrays(view: View, entry: FieldRecord, request: SearchRequest, threads: int, trace: Trace) -> BatchHits:
    """Return ids, distances and scores of all queries as arrays of shape (n, k)."""
    spec = spec_of(entry)
    found = _nearest(view, entry, request, threads, trace)
    shape = (len(found), request.k)
    ids = np.full(shape, None, np.object_) if view.record.id_type == "str" else np.full(shape, -1, np.int64)
    distances = np.full(shape, np.inf, np.float32)
    every = np.concatenate([numbers for numbers, _ in found]) if found else np.empty(0, np.int64)
    listed = iter(idmap.ids_of(view, every, lambda: _note_missing_ids(view, entry, trace)))
    for at, (numbers, nearest) in enumerate(found):
        ids[at, : len(numbers)] = list(islice(listed, len(numbers)))
        distances[at, : len(numbers)] = nearest
    trace.cold = trace.cold or beside.is_wanted(view, entry)
    trace.stage("fetch")
    scored = scores(distances, spec.metric).astype(np.float32) if spec else -distances
    return BatchHits(ids, distances, scored)


def _note_missing_ids(view: View, entry: FieldRecord, trace: Trace) -> None:
    """Ids follow when all vectors are in memory."""
    trace.cold = trace.cold or resident.held_length(view, entry) >= len(view.slots(entry))


def _nearest(view: View, entry: FieldRecord, request: SearchRequest, threads: int, trace: Trace) -> list[Nearest]:
    """Return row numbers and distances of the answers, best first, ties by id."""
    spec, queries = spec_of(entry), request.vectors
    if spec is None or queries is None or not len(queries):  # nothing was ever added, or is asked
        empty = np.empty(0, np.int64), np.empty(0, np.float32)
        return [empty] * (0 if queries is None else len(queries))
    slot_map = view.slots(entry)
    trace.stage("snapshot")
    mask = view.passing_slots(entry, request.where)
    trace.rows_live = slot_map.n_live
    trace.candidates = trace.rows_passing = slot_map.n_live if mask is None else int(np.count_nonzero(mask))
    trace.stage("filter")
    field = Field(view, entry, spec, slot_map, mask, request.where is not None, threads)
    answers = _planned(field, request, queries, trace)
    trace.stage("scan")
    numbers = slot_map.rows.view
    if request.radius is not None:
        within = [distances <= request.radius for _, distances in answers]
        answers = [(found[0][near], found[1][near]) for found, near in zip(answers, within, strict=True)]
    return [_ordered(view, numbers[positions], distances, request.k) for positions, distances in answers]


def _planned(field: Field, request: SearchRequest, queries: NDArray[np.generic], trace: Trace) -> list[Nearest]:
    """Return positions and distances by the cheapest way that meets the request."""
    offer = offered(field, request, trace.notes)
    kind = field.view.choice(field.entry).kind
    coding = (offer is None or kind == AUTO) and not request.exact and kind != "flat"
    found = coded(field.view, field.entry, field.spec, field.slot_map) if coding else None
    if isinstance(found, Unusable):
        trace.notes.append(f"codes cannot be used and will be made anew: {found.reason}")
        found = None
    situation = planner.Situation(
        rows=len(field.slot_map),
        passing=trace.rows_passing,
        filtered=field.filtered,
        queries=len(queries),
        k=request.k,
        recall=request.recall,
        exact=request.exact,
        in_memory=resident.held_length(field.view, field.entry) >= len(field.slot_map),
        chosen=WAYS.get(kind),
        offered=None if offer is None else WAYS[offer.structure.kind],
        offered_ms=math.inf if offer is None else offer.effort.expected_ms,
        depth=explicit_depth(request),
    )
    plan = planner.choose(situation, field.spec, found)
    if offer is None or plan.way != situation.offered:
        return _without_index(field, found, request, queries, plan, trace)
    trace.plan, trace.rejected, trace.recall = offer.plan, plan.rejected, offer.effort.recall
    inside = IndexSearch(field, offer, request.recall)
    trace.cold = inside.fetch.cold
    indexed, trace.candidates = inside.several(queries, request.k)
    if kind == AUTO and found is not None:
        limit = offer.structure.calibration.far
        far = np.flatnonzero([is_far(nearest, limit) for nearest in indexed])
        if len(far):
            plan = planner.choose(replace(situation, offered=None), field.spec, found)
            again = _without_index(field, found, request, queries[far], plan, trace)
            trace.notes.append(f"the graph was left for {len(far)} of {len(queries)}, unusually far from all rows")
            for at, nearest in zip(far.tolist(), again, strict=True):
                indexed[at] = nearest
    return indexed


def _without_index(
    field: Field,
    found: Coded | None,
    request: SearchRequest,
    queries: NDArray[np.generic],
    plan: planner.Plan,
    trace: Trace,
) -> list[Nearest]:
    """Return positions and distances by comparing all rows: exactly, by their codes, or those that pass."""
    trace.plan, trace.rejected = plan.way, plan.rejected
    if plan.way == "exact over the few that pass" and field.mask is not None:
        fetch = resident.Fetcher(field.view, field.entry, field.spec, field.slot_map)
        trace.cold = fetch.cold
        return [rerank(queries[0], np.flatnonzero(field.mask), fetch, field.spec, request.k)]
    if plan.way == "code scan" and found is not None:
        answers = _by_codes(field, found, request, queries, plan.depth, trace)
        left = [number for number, answer in enumerate(answers) if answer is None]
        if not left:
            return cast("list[Nearest]", answers)
        trace.notes.append(f"codes did not tell what is near to {len(left)} of {len(queries)}: compared with all rows")
        for at, exact in zip(left, _exact(field, queries[left], request.k, trace), strict=True):
            answers[at] = exact
        return cast("list[Nearest]", answers)
    return _exact(field, queries, request.k, trace)


def _exact(field: Field, queries: NDArray[np.generic], k: int, trace: Trace) -> list[Nearest]:
    blocks, trace.streamed = resident.blocks(field.view, field.entry, field.spec, field.slot_map, field.mask)
    return search_flat(blocks, queries, field.spec, k, threads=field.threads, streamed=trace.streamed)


def _by_codes(
    field: Field, found: Coded, request: SearchRequest, queries: NDArray[np.generic], depth: int, trace: Trace
) -> list[Nearest | None]:
    """Return answers over codes, None for queries that have to be compared with all rows."""
    trace.recall = recall_of(depth, request.k, found.calibration)
    trace.plan += f", {found.codebook.bits} bit per dimension, {depth} candidates,"
    search = CodeSearch(field, found)
    trace.cold = search.fetch.cold or is_scattered(found, field.view.parts.threads)
    if len(queries) > 1:
        answers, trace.candidates = search.several(queries, request.k, depth)
        return answers
    answer = search.one(queries[0], request.k, depth)
    if answer is None:
        return [None]
    trace.candidates = answer[1]
    return [answer[0]]


def _all_differ(distances: NDArray[np.float32]) -> bool:
    """Return whether ascending distances have no two alike."""
    if len(distances) <= _FEW_HITS:  # Python is done before NumPy begins
        return len(set(distances.tolist())) == len(distances)
    return not (distances[1:] == distances[:-1]).any()


def _ordered(view: View, numbers: NDArray[np.int64], distances: NDArray[np.float32], k: int) -> Nearest:
    """Order ties by id, and cut to k."""
    if _all_differ(distances):
        return numbers[:k], distances[:k]
    order = _tie_order(distances, idmap.ids_of(view, numbers))[:k]
    return numbers[order], distances[order]


def _tie_order(distances: NDArray[np.float32], ids: Sequence[Id]) -> list[int]:
    # Beyond the range of float32 the order of the scan, which compared in float64, stands.
    beyond = np.isinf(distances)
    return sorted(range(len(ids)), key=lambda at: (distances[at], at if beyond[at] else 0, ids[at]))
