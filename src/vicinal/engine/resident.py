"""The vectors of a field: in memory as far as the budget goes, streamed from the file beyond."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from vicinal.engine.growing import Growing
from vicinal.engine.structures.held import Structured
from vicinal.engine.structures.held import key_of as structure_key
from vicinal.index import BLOCK_ROWS, Block, ByteCodes, Fetch, Levels, Rounded, code_bytes, fetch_from, row_norms
from vicinal.storage.chunks import Reader, check, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

_FEW: Final = 4096
_STREAM_BYTES: Final = 16 << 20
_DIMENSIONS_PER_CODE_BYTE: Final = 4  # codes of one bit per dimension are held twice
_PARTLY_RESIDENT: Final = 0.6  # of the budget: the rest is for what a search works with


@dataclass(frozen=True, slots=True)
class _Codes:
    levels: Levels
    codes: Growing[np.uint8]
    upper: Growing[np.float32]
    errors: Growing[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[Any], spec: VectorSpec, like: Levels | None = None) -> _Codes | None:
        levels = Levels.of(vectors, spec, like)
        if levels is None:
            return None
        codes, upper, errors = levels.encode(vectors)
        return cls(levels, Growing.of(codes), Growing.of(upper), Growing.of(errors))

    def appended(self, vectors: NDArray[Any]) -> _Codes:
        codes, upper, errors = self.levels.encode(vectors)
        return _Codes(self.levels, self.codes.appended(codes), self.upper.appended(upper), self.errors.appended(errors))

    @property
    def view(self) -> ByteCodes:
        return ByteCodes(self.levels, Rounded(self.codes.view, self.upper.view, self.errors.view))


@dataclass(frozen=True, slots=True)
class _ResidentBlock:
    vectors: Growing[np.generic]
    norms: Growing[np.float32] | None
    codes: _Codes | None

    def longer(self, more: _ResidentBlock, spec: VectorSpec) -> _ResidentBlock:
        """Return this block with the rows of another behind."""
        rows = more.vectors.view
        norms = None if self.norms is None or more.norms is None else self.norms.appended(more.norms.view)
        vectors = self.vectors.appended(rows)
        codes = _Codes.of(vectors.view, spec) if self.codes is None else self.codes.appended(rows)
        return _ResidentBlock(vectors, norms, codes)

    @property
    def nbytes(self) -> int:
        return self.vectors.view.nbytes + (0 if self.codes is None else self.codes.codes.view.nbytes)


@dataclass(frozen=True, slots=True)
class Resident:
    """Vectors of the first `length` positions of a slot map, in whole blocks; `slots` are the map's."""

    slots: Growing[np.int64]
    blocks: tuple[_ResidentBlock, ...]
    length: int
    fetch: Fetch

    @classmethod
    def of(cls, slots: Growing[np.int64], blocks: Sequence[_ResidentBlock], length: int) -> Resident:
        """Return these blocks, whole but for the last, as the first `length` positions."""
        fetch = fetch_from([Block(at * BLOCK_ROWS, block.vectors.view) for at, block in enumerate(blocks)])
        return cls(slots, tuple(blocks), length, fetch)

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
        wanted = wanted_of(length)
        read: list[Callable[[], _ResidentBlock]] = []
        made = _Maker(spec, blocks[0].codes if blocks else None)
        with Reader(view.session, entry.id, spec) as reader, _Beside(wanted - length > BLOCK_ROWS) as beside:
            while length < wanted:
                end = min(wanted, (length // BLOCK_ROWS + 1) * BLOCK_ROWS)
                vectors = np.zeros((end - length, spec.width), spec.storage_dtype)
                finish = partial(made.block, vectors, _read(view, entry, slot_map, reader, length, vectors))
                read.append(beside.start(finish))
                length = end
            for finished in read:
                if blocks and blocks[-1].vectors.length < BLOCK_ROWS:
                    blocks[-1] = blocks[-1].longer(finished(), spec)
                else:
                    blocks.append(finished())
        return Resident.of(slot_map.slots, blocks, length)

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
        missing = most_resident(view, entry, spec, slot_map) - self.held.length
        self.cold = missing > _FEW
        """Whether much that may be in memory is not."""
        if 0 < missing <= _FEW:
            self.held = resident(view, entry, spec, slot_map)
        self._view, self._entry, self._spec, self._slot_map = view, entry, spec, slot_map

    @property
    def complete(self) -> bool:
        """Whether all vectors are in memory."""
        return self.held.length >= len(self._slot_map)

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


class _Beside:
    """Runs work in another thread while the next block is read, where there is more than one block."""

    def __init__(self, worthwhile: bool) -> None:  # noqa: FBT001 - private
        self._pool = ThreadPoolExecutor(1, "vicinal-norms") if worthwhile else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, work: Callable[[], _ResidentBlock]) -> Callable[[], _ResidentBlock]:
        """Begin `work`; return what waits for its result."""
        if self._pool is None:
            return work
        return self._pool.submit(work).result


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read into an array of vectors: rows of it, their slots, and the checksums to find."""

    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    sums: NDArray[np.uint32]


class _Maker:
    """Makes blocks of vectors just read, one after the other; their codes share levels where they can."""

    def __init__(self, spec: VectorSpec, like: _Codes | None) -> None:
        self._spec = spec
        self._like = like.levels if like is not None else None

    def block(self, vectors: NDArray[np.generic], read: _Read) -> _ResidentBlock:
        """Return the block. Raises Corrupted where the vectors are not what was written."""
        norms = _checked_norms(vectors, self._spec, read)
        codes = _Codes.of(vectors, self._spec, self._like)
        if codes is not None:
            self._like = codes.levels
        return _ResidentBlock(Growing.of(vectors), None if norms is None else Growing.of(norms), codes)


def read_live(
    view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap, part: slice
) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
    """Return the slots (n,) and the vectors (n, width) of the live positions in a range, read from the file."""
    vectors = np.zeros((part.stop - part.start, spec.width), spec.storage_dtype)
    with Reader(view.session, entry.id, spec) as reader:
        read = _read(view, entry, slot_map, reader, part.start, vectors)
    live = vectors if len(read.rows) == len(vectors) else vectors[read.rows]
    check(live, read.slots, read.sums)
    return read.slots, live


def _checked_norms(vectors: NDArray[np.generic], spec: VectorSpec, read: _Read) -> NDArray[np.float32] | None:
    check(vectors if len(read.rows) == len(vectors) else vectors[read.rows], read.slots, read.sums)
    return row_norms(vectors, spec)


def _read(
    view: View, entry: FieldRecord, slot_map: SlotMap, reader: Reader, start: int, out: NDArray[np.generic]
) -> _Read:
    """Read the vectors of positions `start`, … into `out`, chunk by chunk; those of dropped chunks stay as is.

    What comes back names the live ones, which are to be checked.
    """
    end = start + len(out)
    slots, live = slot_map.slots.view[start:end], slot_map.live[start:end].copy()
    sums = np.zeros(len(out), np.uint32)
    done = 0
    for chunk in spans(view.session, entry.id, int(slots[0]), int(slots[-1]) + 1) if len(slots) else ():
        low, high = (int(at) for at in np.searchsorted(slots, (chunk.first, chunk.first + chunk.written)))
        if low < high:
            reader.into(chunk.first, int(slots[low]) - chunk.first, out[low:high])
            sums[low:high] = chunk.sums[slots[low:high] - chunk.first]
        live[done:low] = False  # of no chunk
        done = high
    live[done:] = False
    rows = np.flatnonzero(live)
    return _Read(rows, slots[rows], sums[rows])


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
    step = max(1, _STREAM_BYTES // spec.row_bytes)
    buffer = np.zeros((max(0, min(step, len(slot_map) - first)), spec.width), spec.storage_dtype)
    with Reader(view.session, entry.id, spec) as reader:
        for at in range(first, len(slot_map), step):
            end = min(at + step, len(slot_map))
            part = None if mask is None else mask[at:end]
            if part is not None and not part.any():
                continue
            vectors = buffer[: end - at]
            read = _read(view, entry, slot_map, reader, at, vectors)
            yield Block(at, vectors, _checked_norms(vectors, spec, read), part)
