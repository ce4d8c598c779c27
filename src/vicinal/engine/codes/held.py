"""The codes of a field in memory: segments for the quantised scan, aligned to a slot map."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from vicinal.engine.codes.calibration import Calibration
from vicinal.errors import Corrupted
from vicinal.index import Codebook, CodeSegment, scannable
from vicinal.storage import codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.engine.growing import Growing
    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

_log = logging.getLogger("vicinal")
_SEGMENT_ROWS: Final = 1 << 17
"""Segments below it are made anew when codes come; larger ones stay as they are."""
_MOST_SEGMENTS: Final = 6


@dataclass(frozen=True, slots=True)
class Coded:
    """Codes of the first `length` positions of a slot map, those of slots below `covered`; `slots` are the map's."""

    slots: Growing[np.int64]
    identity: int
    covered: int
    length: int
    codebook: Codebook
    calibration: Calibration | None
    segments: tuple[CodeSegment, ...]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(segment.nbytes for segment in self.segments)

    def fits(self, slot_map: SlotMap) -> bool:
        """Return whether the positions are those of this map."""
        return self.slots.agrees(slot_map.slots, self.length)


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why the codes of a codebook cannot be used, though they are there."""

    identity: int
    reason: str


def coded(view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> Coded | Unusable | None:
    """Return the field's codes, loading what is new; None where there are none.

    Cost: 45 ms per million rows of 256 dimensions on first use.
    """
    identity = entry.codebook
    if identity is None or not scannable(spec):
        return None

    def load() -> Coded | Unusable:
        try:
            return _loaded(view, entry, spec, slot_map)
        except Corrupted as error:
            _log.warning("the codes of field %r cannot be used and will be made anew: %s", entry.name, error)
            return Unusable(identity, str(error))

    def refresh(old: Coded | Unusable, _version: int) -> Coded | Unusable | None:
        if isinstance(old, Unusable) or old.identity != identity or not old.fits(slot_map):
            return None
        if entry.covered < old.covered:
            return None
        try:
            return _extended(old, view, entry, slot_map)
        except Corrupted:
            return None

    found = view.parts.get(view.session, view.record, _key_of(entry), load, refresh)
    if isinstance(found, Coded) and not found.fits(slot_map):
        found = load()
        view.parts.replace(view.session, view.record, _key_of(entry), found)
    return found


def _key_of(entry: FieldRecord) -> tuple[str, int]:
    return "codes", entry.id


def _loaded(view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> Coded:
    identity = entry.codebook or 0
    stored = codes.codebook(view.session, entry.id, identity)
    codebook = Codebook.from_arrays(spec, stored.arrays)
    length, found = _codes_between(view, entry, codebook, slot_map, 0)
    calibration = Calibration.from_dict(stored.spec.get("calibration"))
    segments = _split(codebook, found, view.parts.threads)
    return Coded(slot_map.slots, identity, entry.covered, length, codebook, calibration, segments)


def _split(codebook: Codebook, found: NDArray[np.uint8], threads: int) -> tuple[CodeSegment, ...]:
    """Return segments of all codes (n, width), one for each thread where they are many."""
    parts = max(1, min(threads, len(found) // _SEGMENT_ROWS))
    bounds = [len(found) * number // parts for number in range(parts + 1)]
    segments = [_segment(codebook, found[low:high], low) for low, high in itertools.pairwise(bounds)]
    return tuple(segment for segment in segments if len(segment))


def is_scattered(coded: Coded, threads: int) -> bool:
    """Return whether there are more segments than serve the threads: each costs a scan some hundredths of a ms."""
    return len(coded.segments) > threads + 1


def gather(view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> None:
    """Make few segments of many. Cost: 50 ms per million rows of 256 dimensions and one bit."""
    found = coded(view, entry, spec, slot_map)
    if isinstance(found, Coded) and is_scattered(found, view.parts.threads):
        whole = np.concatenate([segment.codes for segment in found.segments])
        gathered = replace(found, segments=_split(found.codebook, whole, view.parts.threads))
        view.parts.replace(view.session, view.record, _key_of(entry), gathered)


def _extended(old: Coded, view: View, entry: FieldRecord, slot_map: SlotMap) -> Coded:
    described = codes.describe_codebook(view.session, old.identity)
    calibration = Calibration.from_dict(described.get("calibration"))
    length, found = _codes_between(view, entry, old.codebook, slot_map, old.length, old.covered)
    segments = list(old.segments)
    if len(found):
        start = old.length
        if segments and len(segments[-1]) < _SEGMENT_ROWS:
            last = segments.pop()
            found, start = np.concatenate([last.codes, found]), last.first
        segments.append(_segment(old.codebook, found, start))
        if len(segments) > _MOST_SEGMENTS:
            _merge_smallest(segments, old.codebook)
    return Coded(slot_map.slots, old.identity, entry.covered, length, old.codebook, calibration, tuple(segments))


def _merge_smallest(segments: list[CodeSegment], codebook: Codebook) -> None:
    """Make one of the two neighbours that are smallest together."""
    at = min(range(len(segments) - 1), key=lambda number: len(segments[number]) + len(segments[number + 1]))
    left, right = segments[at : at + 2]
    segments[at : at + 2] = [_segment(codebook, np.concatenate([left.codes, right.codes]), left.first)]


def _segment(codebook: Codebook, found: NDArray[np.uint8], first: int) -> CodeSegment:
    return CodeSegment(codebook, found, first)


def _codes_between(
    view: View, entry: FieldRecord, codebook: Codebook, slot_map: SlotMap, start: int, low: int = 0
) -> tuple[int, NDArray[np.uint8]]:
    """Return how many positions are covered, and the codes (n, width) of those from `start`.

    `low` is a slot from which pieces are read. Raises Corrupted where a live position has none.
    """
    if not 0 <= entry.covered <= entry.next_slot:
        message = f"{entry.covered} slots of field {entry.name!r} are said to be coded, of {entry.next_slot}"
        raise Corrupted(message)
    slots = slot_map.slots.view
    length = int(np.searchsorted(slots, entry.covered))
    wanted = slots[start:length]
    found = np.zeros((len(wanted), codebook.code_bytes), np.uint8)
    missing = slot_map.live[start:length].copy()
    if len(wanted):
        low = max(0, min(low, int(wanted[0])) - codes.PIECE_SLOTS)
        identity = entry.codebook or 0
        for first, piece in codes.read_codes(view.session, identity, low, entry.covered, codebook.code_bytes):
            left, right = (int(at) for at in np.searchsorted(wanted, (first, first + len(piece))))
            if left < right:
                contiguous = int(wanted[right - 1]) - int(wanted[left]) == right - left - 1
                begin = int(wanted[left]) - first
                found[left:right] = (
                    piece[begin : begin + right - left] if contiguous else piece[wanted[left:right] - first]
                )
                missing[left:right] = False
    if missing.any():
        slot = int(wanted[int(np.argmax(missing))])
        message = f"slot {slot} of field {entry.name!r} has no code"
        raise Corrupted(message)
    return length, found


def masks_of(segments: Sequence[CodeSegment], mask: NDArray[np.bool_] | None) -> list[NDArray[np.bool_]] | None:
    """Return the part of a mask over positions that belongs to each segment."""
    if mask is None:
        return None
    return [mask[segment.first : segment.first + len(segment)] for segment in segments]
