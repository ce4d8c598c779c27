"""The vectors of a field: in memory as far as the budget goes, streamed from the file beyond."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.engine.loading import (
    Beside,
    BlockMaker,
    ResidentBlock,
    Room,
    checked_norms,
    place_for,
    read_into,
    readers_of,
)
from vicinal.engine.structures.held import Structured
from vicinal.engine.structures.held import key_of as structure_key
from vicinal.index import (
    BLOCK_ROWS,
    Block,
    Fetch,
    Whole,
    code_bytes,
    fetch_from,
    rerank,
    rerank_all_in,
    rerank_in,
    side_by_side,
)
from vicinal.storage.chunks import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from vicinal.engine.growing import Growing
    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.target import Nearest
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

_FEW: Final = 4096
_STREAM_BYTES: Final = 16 << 20
_DIMENSIONS_PER_CODE_BYTE: Final = 4  # codes of one bit per dimension are held twice
_PARTLY_RESIDENT: Final = 0.6  # of the budget: the rest is for what a search works with


@dataclass(frozen=True, slots=True)
class Resident:
    """Vectors of the first `length` positions of a slot map, in whole blocks; `slots` are the map's."""

    slots: Growing[np.int64]
    blocks: tuple[ResidentBlock, ...]
    length: int
    fetch: Fetch
    whole: Whole | None
    """All of them, where they lie in one array."""
    room: Room

    @classmethod
    def of(
        cls, slots: Growing[np.int64], blocks: Sequence[ResidentBlock], length: int, old: Resident | None = None
    ) -> Resident:
        """Return these blocks, whole but for the last, as the first `length` positions; `old`: what they were before.

        Cost: 4 us per block, unless only the last is new to `old`.
        """
        vectors = [block.vectors.view for block in blocks]
        norms = [block.norms.view for block in blocks if block.norms is not None]
        before = old.whole if old is not None and len(old.blocks) == len(blocks) > 1 else None
        if old is not None and before is not None and all(map(operator.is_, blocks[:-1], old.blocks)):
            start = BLOCK_ROWS * (len(blocks) - 1)
            vectors = [before.vectors[:start], vectors[-1]]
            norms = norms if before.norms is None else [before.norms[:start], norms[-1]]
        together, all_norms = side_by_side(vectors), side_by_side(norms)
        told = together is not None and all_norms is not None and len(all_norms) == len(together)
        whole = None if together is None else Whole(together, all_norms if told else None)
        apart = [Block(at * BLOCK_ROWS, block.vectors.view) for at, block in enumerate(blocks)] if whole is None else []
        fetch = fetch_from(apart if whole is None else [Block(0, whole.vectors)])
        return cls(slots, tuple(blocks), length, fetch, whole, old.room if old is not None else Room())

    @property
    def nbytes(self) -> int:
        """The memory of the vectors and of what is as large as they are."""
        return sum(block.nbytes for block in self.blocks)


def resident(
    view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap, at_once: int | None = None
) -> Resident:
    """Return the vectors held in memory, loading what is new: no more than `at_once` blocks of it."""
    most = most_resident(view, entry, spec, slot_map)

    def wanted_of(length: int) -> int:
        return most if at_once is None else min(most, (length // BLOCK_ROWS + at_once) * BLOCK_ROWS)

    def extend(old: Resident | None) -> Resident:
        blocks = list(old.blocks) if old is not None else []
        length = old.length if old is not None else 0
        empty = Resident.of(slot_map.slots, (), 0) if old is None else old
        room = empty.room
        wanted = wanted_of(length)
        read: list[Callable[[], ResidentBlock]] = []
        made = BlockMaker(spec, blocks[0].codes if blocks else None)
        missing = wanted - length
        with readers_of(view, entry, spec, missing) as readers, Beside(missing > BLOCK_ROWS) as beside:
            while length < wanted:
                end = min(wanted, (length // BLOCK_ROWS + 1) * BLOCK_ROWS)
                begins = length % BLOCK_ROWS == 0 and most > BLOCK_ROWS
                place = room.block(spec, -(-(most - length) // BLOCK_ROWS)) if begins else place_for(end - length, spec)
                vectors = place[0][: end - length]
                found = read_into(view, entry, slot_map, readers, length, vectors)
                finish = partial(made.block, vectors, found, place)
                read.append(beside.start(finish))
                length = end
            for finished in read:
                if blocks and blocks[-1].vectors.length < BLOCK_ROWS:
                    blocks[-1] = blocks[-1].longer(finished(), spec)
                else:
                    blocks.append(finished())
        return Resident.of(slot_map.slots, blocks, length, empty)

    def fits(old: Resident) -> bool:
        return old.slots.agrees(slot_map.slots, old.length)

    def refresh(old: Resident, _version: int) -> Resident | None:
        return extend(old) if fits(old) else None

    key = ("vectors", entry.id)
    loaded: list[Resident] = []

    def load() -> Resident:
        loaded.append(extend(None))
        return loaded[0]

    found = view.parts.get(view.session, view.record, key, load, refresh)
    if not fits(found) or (found.length < most and not loaded):
        found = extend(found if fits(found) else None)
        view.parts.replace(view.session, view.record, key, found)
    return found


def most_resident(view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> int:
    """Return how many positions the memory budget allows to be held, in whole blocks unless all."""
    codes = 0 if entry.codebook is None else len(slot_map) * -(-spec.dim // _DIMENSIONS_PER_CODE_BYTE)
    structure = view.parts.peek(view.record, structure_key(entry))
    reserved = codes + (structure.nbytes if isinstance(structure, Structured) else 0)
    return _resident_length(view.parts.budget - reserved, spec, len(slot_map))


def held_now(view: View, entry: FieldRecord, slot_map: SlotMap) -> Resident:
    """Return what is in memory, without loading anything."""
    held = view.parts.peek(view.record, ("vectors", entry.id))
    if isinstance(held, Resident) and held.slots.agrees(slot_map.slots, held.length):
        return held
    return Resident.of(slot_map.slots, (), 0)


def held_length(view: View, entry: FieldRecord) -> int:
    """Return how many positions are in memory already."""
    held = view.parts.peek(view.record, ("vectors", entry.id))
    return held.length if isinstance(held, Resident) else 0


class Fetcher:
    """Fetches vectors by position: from memory as far as they are held, else from the file."""

    def __init__(self, view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> None:
        self.held = held_now(view, entry, slot_map)
        complete = self.held.length >= len(slot_map)
        missing = 0 if complete else most_resident(view, entry, spec, slot_map) - self.held.length
        self.cold = missing > _FEW
        """Whether much that may be in memory is not."""
        if 0 < missing <= _FEW:
            self.held = resident(view, entry, spec, slot_map)
        self._view, self._entry, self._spec, self._slot_map = view, entry, spec, slot_map
        self.complete = self.held.length >= len(slot_map)
        """Whether all vectors are in memory."""
        self.whole = self.held.whole if self.complete else None
        """All vectors, where they lie in one array in memory, so that candidates need not be fetched."""

    def nearest(self, query: NDArray[Any], positions: NDArray[np.int64], k: int) -> Nearest:
        """Return the k nearest of candidates by their exact distances, ties with the k-th included."""
        if self.whole is not None:
            return rerank_in(query, positions, self.whole, self._spec, k)
        return rerank(query, positions, self, self._spec, k)

    def nearest_all(self, queries: NDArray[Any], positions: NDArray[np.int64], k: int) -> list[Nearest]:
        """Return what `nearest` does for each query (nq, width) and its positions (nq, n), where `whole` is known."""
        if self.whole is None:
            message = "not all vectors lie in one array in memory"
            raise ValueError(message)
        return rerank_all_in(queries, positions, self.whole, self._spec, k)

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Return vectors (n, width) at positions (n,). Cost: 0.1 µs each from memory, 6 µs from the file."""
        here = positions < self.held.length
        if len(here) and here.all():
            return self.held.fetch(positions)
        vectors = np.empty((len(positions), self._spec.width), self._spec.storage_dtype)
        if here.any():
            vectors[here] = self.held.fetch(positions[here])
        with Reader(self._view.session, self._entry.id, self._spec) as reader:
            vectors[~here] = reader.at(self._slot_map.slots.view[positions[~here]])
        return vectors


def _resident_length(budget: int, spec: VectorSpec, n: int) -> int:
    row_bytes = spec.row_bytes + code_bytes(spec)
    if n * row_bytes <= budget:
        return n
    blocks = max(0, int(budget * _PARTLY_RESIDENT)) // (BLOCK_ROWS * row_bytes)
    return min(n, blocks * BLOCK_ROWS)


def blocks(
    view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap, mask: NDArray[np.bool_] | None
) -> tuple[Iterator[Block], bool]:
    """Return the field's vectors as blocks for a scan, and whether some of them are streamed.

    A streamed block's arrays are overwritten when the next one is asked for.
    """
    held = resident(view, entry, spec, slot_map)
    return blocks_from(0, view, entry, spec, slot_map, mask, held), held.length < len(slot_map)


def streamed_blocks(
    view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap, mask: NDArray[np.bool_] | None
) -> tuple[Iterator[Block], bool]:
    """Return what `blocks` does, reading what is not in memory without keeping it."""
    held = held_now(view, entry, slot_map)
    return blocks_from(0, view, entry, spec, slot_map, mask, held), held.length < len(slot_map)


def blocks_from(  # noqa: PLR0913, PLR0917 - what a scan reads is all of these
    start: int,
    view: View,
    entry: FieldRecord,
    spec: VectorSpec,
    slot_map: SlotMap,
    mask: NDArray[np.bool_] | None,
    held: Resident,
) -> Iterator[Block]:
    """Yield the vectors of positions `start`, …: those held in memory, then the others as they are read."""
    first = 0
    for block in held.blocks:
        end = first + block.vectors.length
        low = max(start, first)
        part = None if mask is None else mask[low:end]
        if low < end and (part is None or part.any()):
            norms = None if block.norms is None else block.norms.view[low - first :]
            codes = block.codes.view if block.codes is not None and low == first else None
            yield Block(low, block.vectors.view[low - first :], norms, part, codes)
        first = end
    first = max(start, first)
    if first >= len(slot_map):
        return
    step = max(1, _STREAM_BYTES // spec.row_bytes)
    buffer = np.zeros((min(step, len(slot_map) - first), spec.width), spec.storage_dtype)
    with Reader(view.session, entry.id, spec) as reader:
        for at in range(first, len(slot_map), step):
            end = min(at + step, len(slot_map))
            part = None if mask is None else mask[at:end]
            if part is not None and not part.any():
                continue
            vectors = buffer[: end - at]
            read = read_into(view, entry, slot_map, [reader], at, vectors)
            yield Block(at, vectors, checked_norms(vectors, spec, read), part)
