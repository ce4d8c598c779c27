"""Approximate search in a graph or in lists, and of the rows that are in neither, all compared exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.codes.calibration import depth_for
from vicinal.engine.codes.held import Coded, coded, masks_of
from vicinal.engine.planner import EXACT_RECALL
from vicinal.engine.resident import Fetcher
from vicinal.engine.rest import Rest
from vicinal.engine.structures.effort import KNOBS
from vicinal.engine.structures.held import Structured, Unusable, structured
from vicinal.index import Graph, Lists, in_threads, rerank, scan_segments, survivors
from vicinal.indexing import AUTO, STRUCTURED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vicinal.engine.planner import Way
    from vicinal.engine.structures.effort import Effort
    from vicinal.engine.target import Field, Nearest
    from vicinal.index import CodeSegment
    from vicinal.request import SearchRequest

_TAIL_ROWS: Final = 4096
"""More rows behind a structure are searched by their codes, where they have any."""
_FEW_LOOSE: Final = 64
"""So many loose rows are compared with the candidates; of more, first those that may be near are told."""
WAYS: Final[Mapping[str, Way]] = {"scan": "code scan", "hnsw": "hnsw", "ivf": "ivf", "scann": "scann"}
"""What the planner calls the way that goes with a kind."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A structure that can serve a request, and the effort for it."""

    structure: Structured
    effort: Effort

    @property
    def plan(self) -> str:
        """What `explain` says of it."""
        knob = KNOBS[self.structure.kind]
        given = ", ".join(f"{name} {value}" for name, value in sorted(self.structure.parameters.items()))
        return f"{self.structure.kind} ({given}), {knob} {self.effort.level}, {self.effort.depth} candidates,"


def offered(field: Field, request: SearchRequest, notes: list[str]) -> Offer | None:
    """Return the field's graph or lists where they can serve a request; `notes` say why where not.

    Raises InvalidInput for an effort that the field's kind does not have.
    """
    choice = field.view.choice(field.entry)
    choice.check_effort(request.effort)
    explicit = dict(request.effort or {})
    if request.exact or (request.recall > EXACT_RECALL and not explicit):
        return None
    beside = choice.kind == AUTO and not explicit and not field.filtered
    if choice.kind not in STRUCTURED and not (beside and field.entry.structure is not None):
        return None
    found = structured(field.view, field.entry, field.spec, field.slot_map)
    if isinstance(found, Unusable) and not found.damaged:
        return None
    if isinstance(found, Unusable):
        notes.append(f"the index cannot be used and will be made anew: {found.reason}")
        return None
    if found is None:
        if not beside:
            notes.append(f"{choice.kind} is chosen and not built yet")
        return None
    if explicit:
        return Offer(found, found.calibration.given(KNOBS[found.kind], explicit, request.k, request.recall))
    usual = found.calibration.choose(request.recall, request.k)
    if usual is None and beside:
        return None
    if usual is None:
        notes.append(f"{choice.kind} was not measured to reach the recall {request.recall:g}")
        return None
    return Offer(found, usual)


def explicit_depth(request: SearchRequest) -> int | None:
    """Return the candidates to compare exactly that a request asks for by number, at least k."""
    depth = (request.effort or {}).get("depth")
    return None if depth is None else max(depth, request.k)


class IndexSearch:
    """A field and its structure, ready for queries."""

    def __init__(self, field: Field, offer: Offer, recall: float) -> None:
        self._field = field
        self._structure = offer.structure
        self._effort = offer.effort
        self._recall = recall
        self.fetch = Fetcher(field.view, field.entry, field.spec, field.slot_map)
        self._passing = offer.structure.placed.rows_passing(field.mask)

    def several(self, queries: NDArray[Any], k: int) -> tuple[list[Nearest], int]:
        """Return the nearest to each query, and how many candidates were compared for the last."""
        behind = self._behind(queries, k)

        def answer(number: int) -> tuple[Nearest, int]:
            return self._merged(queries[number], self._candidates(queries[number]), behind[number], k)

        threads = self._field.threads if self.fetch.complete else 1  # the file is read in this thread alone
        found = in_threads(answer, range(len(queries)), threads)
        return [nearest for nearest, _ in found], found[-1][1] if found else 0

    def _candidates(self, query: NDArray[Any]) -> NDArray[np.int64]:
        """Return positions of likely rows of the structure, ascending."""
        index, positions, effort = self._structure.index, self._structure.placed.positions, self._effort
        if isinstance(index, Graph):
            rows = index.likely(query, effort.depth, self._passing, ef=effort.level)
        elif isinstance(index, Lists):
            rows, _ = index.candidates(
                query,
                effort.depth,
                self._passing,
                nprobe=min(effort.level, index.centroids.nlist),
                vectors_at=lambda rows: self.fetch(positions[rows]),
            )
        else:
            nprobe = min(effort.level, index.centroids.nlist)
            rows, _ = index.candidates(query, effort.depth, self._passing, nprobe=nprobe)
        return np.sort(positions[rows])  # memory is read in order

    def _merged(
        self, query: NDArray[Any], inside: NDArray[np.int64], behind: NDArray[np.int64], k: int
    ) -> tuple[Nearest, int]:
        """Compare candidates, loose rows and those behind the structure exactly."""
        placed, mask = self._structure.placed, self._field.mask
        loose, loose_vectors = placed.loose, placed.loose_vectors
        if mask is not None and len(loose):
            passing = mask[loose]
            loose, loose_vectors = loose[passing], loose_vectors[passing]
        if self.fetch.whole is not None and len(loose) > max(k, _FEW_LOOSE):
            likely = survivors(query, loose_vectors, self._field.spec, k)
            loose = loose if likely is None else loose[likely]
        positions = np.concatenate([inside, behind, loose])
        if self.fetch.whole is not None:
            return self.fetch.nearest(query, positions, k), len(positions)
        vectors = self.fetch(np.concatenate([inside, behind]) if len(behind) else inside)
        if len(loose):
            vectors = np.concatenate([vectors, loose_vectors])
        return rerank(query, positions, lambda _: vectors, self._field.spec, k), len(positions)

    def _behind(self, queries: NDArray[Any], k: int) -> list[NDArray[np.int64]]:
        """Return the positions of likely rows behind the structure, for each query."""
        field, start = self._field, self._structure.placed.length
        n = len(field.slot_map)
        if not self._is_long():
            return Rest(field, start, self.fetch).nearest(queries, k)
        codes = coded(field.view, field.entry, field.spec, field.slot_map)
        if not isinstance(codes, Coded) or codes.length <= start:
            return Rest(field, start, self.fetch).nearest(queries, k)
        depth = depth_for(self._recall, k, n, codes.codebook.bits, codes.calibration)
        segments, masks = _from(codes.segments, start, field.mask)
        likely = [scan_segments(segments, query, depth, masks, threads=field.threads)[0] for query in queries]
        rest = Rest(field, codes.length, self.fetch).nearest(queries, k)
        return [np.concatenate(both) for both in zip(likely, rest, strict=True)]

    def _is_long(self) -> bool:
        start, mask = self._structure.placed.length, self._field.mask
        passing = len(self._field.slot_map) - start if mask is None else int(np.count_nonzero(mask[start:]))
        return passing > _TAIL_ROWS


def _from(
    segments: Sequence[CodeSegment], start: int, mask: NDArray[np.bool_] | None
) -> tuple[list[CodeSegment], list[NDArray[np.bool_] | None]]:
    """Return the segments with positions from `start`, and masks that let only those pass."""
    chosen = [segment for segment in segments if segment.first + len(segment) > start]
    parts = masks_of(chosen, mask)
    masks: list[NDArray[np.bool_] | None] = [None] * len(chosen) if parts is None else [*parts]
    for number, segment in enumerate(chosen):
        if segment.first < start:
            part = masks[number]
            cut = np.ones(len(segment), np.bool_) if part is None else part.copy()
            cut[: start - segment.first] = False
            masks[number] = cut
    return chosen, masks
