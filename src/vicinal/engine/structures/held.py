"""The graph or the lists of a field in memory, aligned to a slot map."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.structures.effort import EffortCalibration
from vicinal.engine.structures.makers import restored
from vicinal.errors import Corrupted
from vicinal.indexing import AUTO
from vicinal.storage import structures
from vicinal.storage.chunks import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.engine.growing import Growing
    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.structures.makers import Structure
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

_log = logging.getLogger("vicinal")
_MOST_LOOSE: Final = 4096
"""Rows below `covered` that are in no structure, and compared exactly; more are a sign of damage."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the rows of a structure are in a slot map; `slots` are the map's, `length` those below `covered`.

    positions: of each row, any for one whose slot is gone. present: which rows have one, None for all. live: which
    rows are live, as the map's array `alive` says; None for all. loose: live positions below `length` that are in
    no structure, and their vectors (n, width).
    """

    slots: Growing[np.int64]
    length: int
    positions: NDArray[np.int64]
    present: NDArray[np.bool_] | None
    alive: NDArray[np.bool_]
    live: NDArray[np.bool_] | None
    loose: NDArray[np.int64]
    loose_vectors: NDArray[Any]

    def rows_passing(self, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return which rows of the structure a mask over positions lets pass; None for all."""
        if mask is None:
            return self.present
        if mask is self.alive:
            return self.live
        passing = mask[self.positions]
        return passing if self.present is None else passing & self.present


@dataclass(frozen=True, slots=True)
class Structured:
    """A structure of a field: of `row_slots`, live below the slot `covered` when it was built."""

    identity: int
    kind: str
    parameters: dict[str, int]
    covered: int
    index: Structure
    row_slots: NDArray[np.int64]
    calibration: EffortCalibration
    placed: Placed

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.index.nbytes + self.row_slots.nbytes + self.placed.positions.nbytes

    def fits(self, slot_map: SlotMap) -> bool:
        """Return whether the positions are those of this map."""
        placed = self.placed
        return placed.slots.agrees(slot_map.slots, placed.length) and not (
            len(slot_map) > placed.length and int(slot_map.slots.view[placed.length]) < self.covered
        )


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why the structure of a field is not used, though it is there."""

    identity: int
    reason: str
    damaged: bool = True


class _NotLoadedError(Exception):
    """What stands beside codes is not in memory, and who asks does not load it."""


def key_of(entry: FieldRecord) -> tuple[str, int]:
    """Return the name of the part that holds a field's structure."""
    return "structure", entry.id


def structured(
    view: View,
    entry: FieldRecord,
    spec: VectorSpec,
    slot_map: SlotMap,
    vectors_of: Callable[[NDArray[np.int64]], NDArray[Any]] | None = None,
) -> Structured | Unusable | None:
    """Return the field's graph or lists, loaded on first use; None where there are none.

    What stands beside the codes of `auto` is loaded by who gives `vectors_of`, the vectors of slots; for others
    there is none until then. Cost of loading: 0.5 s per million rows of 256 dimensions as a graph.
    """
    identity = entry.structure
    beside = view.choice(entry).kind == AUTO
    if identity is None or (beside and vectors_of is None and not _is_held(view, entry)):
        return None

    def load() -> Structured | Unusable:
        if beside and vectors_of is None:
            raise _NotLoadedError
        try:
            return _loaded(view, entry, spec, slot_map, identity, vectors_of if beside else None)
        except Corrupted as error:
            _log.warning("the index of field %r cannot be used and will be made anew: %s", entry.name, error)
            return Unusable(identity, str(error))

    def placed_anew(old: Structured) -> Structured | Unusable:
        try:
            placed = _followed(old, slot_map) or _placed(view, entry, spec, slot_map, old.row_slots, old.covered)
            return replace(old, placed=placed)
        except Corrupted as error:
            return Unusable(identity, str(error))

    def refresh(old: Structured | Unusable, _version: int) -> Structured | Unusable | None:
        if old.identity != identity:
            return None
        return old if isinstance(old, Unusable) else placed_anew(old)

    key = key_of(entry)
    try:
        found = view.parts.get(view.session, view.record, key, load, refresh)
    except _NotLoadedError:
        return None
    if isinstance(found, Structured) and not found.fits(slot_map):
        found = placed_anew(found)
        view.parts.replace(view.session, view.record, key, found)
    return found


def _is_held(view: View, entry: FieldRecord) -> bool:
    seen = view.parts.peek(view.record, key_of(entry))
    return isinstance(seen, (Structured, Unusable)) and seen.identity == entry.structure


def _loaded(
    view: View,
    entry: FieldRecord,
    spec: VectorSpec,
    slot_map: SlotMap,
    identity: int,
    vectors_of: Callable[[NDArray[np.int64]], NDArray[Any]] | None,
) -> Structured:
    described = structures.described(view.session, entry.id, identity)
    kind, covered, parameters = described.get("kind"), described.get("covered"), described.get("parameters")
    chosen = view.choice(entry).kind
    known = kind == ("hnsw" if chosen == AUTO else chosen)
    if not known or not isinstance(covered, int) or not isinstance(parameters, dict):
        message = f"index {identity} is not described as it should be"
        raise Corrupted(message)
    efforts = described.get("efforts")
    calibration = EffortCalibration.from_dict(efforts if isinstance(efforts, dict) else {})
    arrays = structures.read(view.session, identity, described.get("arrays"))
    row_slots = _slots_in(arrays.pop("slots", None), covered)
    rows_at = None if vectors_of is None else lambda part: vectors_of(row_slots[part])
    index = restored(str(kind), spec, arrays, len(row_slots), rows_at)
    if len(index) != len(row_slots):
        message = f"index {identity} has {len(index)} rows and {len(row_slots)} slots"
        raise Corrupted(message)
    placed = _placed(view, entry, spec, slot_map, row_slots, covered)
    return Structured(identity, str(kind), parameters, covered, index, row_slots, calibration, placed)


def _slots_in(slots: NDArray[Any] | None, covered: int) -> NDArray[np.int64]:
    """Return the slots of a structure's rows: ascending, below `covered`. Raises Corrupted."""
    if slots is None or slots.dtype != np.int64 or slots.ndim != 1 or not 0 <= covered < 1 << 40:
        message = "the slots of an index are missing"
        raise Corrupted(message)
    if len(slots) and not (slots[0] >= 0 and slots[-1] < covered and bool((slots[1:] > slots[:-1]).all())):
        message = "the slots of an index are not in order"
        raise Corrupted(message)
    return slots


def _followed(old: Structured, slot_map: SlotMap) -> Placed | None:
    """Return the places of the same rows where some died and others came behind; None where more has changed."""
    placed, alive = old.placed, slot_map.live
    if placed.present is not None or not old.fits(slot_map):
        return None
    changed = np.flatnonzero(placed.alive[: placed.length] != alive[: placed.length])
    if not len(changed):
        return replace(placed, slots=slot_map.slots, alive=alive)
    if alive[changed].any():
        return None
    at = np.minimum(placed.positions.searchsorted(changed), len(placed.positions) - 1)
    live = np.ones(len(placed.positions), np.bool_) if placed.live is None else placed.live.copy()
    live[at[placed.positions[at] == changed]] = False
    left = alive[placed.loose]
    return replace(
        placed,
        slots=slot_map.slots,
        alive=alive,
        live=live,
        loose=placed.loose[left],
        loose_vectors=placed.loose_vectors[left],
    )


def _placed(
    view: View,
    entry: FieldRecord,
    spec: VectorSpec,
    slot_map: SlotMap,
    row_slots: NDArray[np.int64],
    covered: int,
) -> Placed:
    """Find the rows of a structure in a map. Raises Corrupted where too many live slots are in none of them."""
    slots = slot_map.slots.view
    length = int(np.searchsorted(slots, covered))
    positions = np.searchsorted(slots[:length], row_slots)
    np.minimum(positions, max(0, length - 1), out=positions)
    found = slots[positions] == row_slots if length else np.zeros(len(row_slots), np.bool_)
    present = None if found.all() else found
    alive = slot_map.live
    live = alive[positions] if length else np.zeros(len(row_slots), np.bool_)
    if present is not None:
        live = live & present
    outside = alive[:length].copy()
    outside[positions[found]] = False
    loose = np.flatnonzero(outside)
    if len(loose) > _MOST_LOOSE:
        message = f"{len(loose):,} rows of field {entry.name!r} are missing in its index"
        raise Corrupted(message)
    with Reader(view.session, entry.id, spec) as reader:
        vectors = reader.at(slots[loose])
    return Placed(
        slot_map.slots, length, positions, present, alive, None if live.all() else live, loose, vectors
    )  # fmt: skip
