"""A graph beside the codes of `auto`: built in the background where many rows lie still, used where it is faster.

It serves searches without a filter, and leaves to the codes those whose answers lie unusually far. Its bytes for the
walk are made again from the vectors when it is loaded, so that the file holds nothing but links.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from vicinal.engine import planner
from vicinal.engine.codes.held import Coded, coded
from vicinal.engine.resident import Fetcher, held_length
from vicinal.engine.structures.held import Structured, Unusable, key_of, structured
from vicinal.errors import Corrupted, Unsupported
from vicinal.indexing import AUTO, IndexChoice
from vicinal.storage import structures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.structures.effort import EffortCalibration
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

MIN_ROWS: Final = 250_000
"""Of fewer rows, a scan of all codes takes as little time as a walk."""
_GRAPH: Final = IndexChoice("hnsw", {"M": 32, "ef_construction": 200})
_LINK_BYTES: Final = 8.3
"""Of a row, for each of M."""
_ROOM: Final = 0.9
"""Of the memory budget, the most that vectors, codes and a graph may take together."""
_USUAL_RECALL, _USUAL_K = 0.95, 10


def made_for(choice: IndexChoice, view: View, entry: FieldRecord, spec: VectorSpec) -> IndexChoice | None:
    """Return what is to be built of many rows for a choice: itself, a graph beside codes, or nothing (None)."""
    if choice.kind != AUTO:
        return choice
    if entry.next_slot < MIN_ROWS or entry.codebook is None or spec.metric == "dot":
        return None
    try:
        _GRAPH.check_suits(entry.dtype, entry.metric, entry.dim)
    except Unsupported:
        return None
    rows = view.slots(entry).n_live
    nbytes = rows * (spec.row_bytes + spec.dim * 1.25 + _LINK_BYTES * _GRAPH.parameters["M"])
    return _GRAPH if rows >= MIN_ROWS and nbytes <= _ROOM * view.parts.budget else None


def pays(view: View, entry: FieldRecord, spec: VectorSpec, efforts: EffortCalibration) -> bool:
    """Return whether a graph of these efforts is expected to be faster than the codes."""
    slot_map = view.slots(entry)
    codes, effort = coded(view, entry, spec, slot_map), efforts.choose(_USUAL_RECALL, _USUAL_K)
    if not isinstance(codes, Coded) or effort is None:
        return False
    n = slot_map.n_live
    situation = planner.Situation(
        rows=n, passing=n, filtered=False, queries=1, k=_USUAL_K, recall=_USUAL_RECALL, exact=False,
        in_memory=True, offered="hnsw", offered_ms=effort.expected_ms,
    )  # fmt: skip
    return planner.choose(situation, spec, codes).way == "hnsw"


def is_wanted(view: View, entry: FieldRecord) -> bool:
    """Return whether a graph is in the file and not in memory, though all vectors are."""
    if entry.structure is None:
        return False
    seen = view.parts.peek(view.record, key_of(entry))
    if isinstance(seen, (Structured, Unusable)) and seen.identity == entry.structure:
        return False
    beside_codes = view.choice(entry).kind == AUTO
    return beside_codes and held_length(view, entry) >= len(view.slots(entry))


def hold(view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> None:
    """Load the graph. Cost: 2 s per million rows of 256 dimensions."""
    if entry.structure is None:
        return
    with suppress(Corrupted):  # said when it is loaded
        if structures.described(view.session, entry.id, entry.structure).get("pays") is not True:
            declined = Unusable(entry.structure, "the codes are as fast", damaged=False)
            view.parts.replace(view.session, view.record, key_of(entry), declined)
            return
    fetch, known = Fetcher(view, entry, spec, slot_map), slot_map.slots.view

    def vectors_of(slots: NDArray[np.int64]) -> NDArray[Any]:
        # Those of slots that are gone are of any others: no search asks for them.
        return fetch(known.searchsorted(slots).clip(0, len(known) - 1))

    structured(view, entry, spec, slot_map, vectors_of)
