"""The vectors of a field: in memory as far as the budget goes, streamed from the file beyond."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from vicinal.engine.growing import Growing
from vicinal.index import BLOCK_ROWS, Block, ByteCodes, Levels, Rounded, code_bytes, row_norms
from vicinal.storage.chunks import Reader, check, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

_STREAM_BYTES: Final = 16 << 20
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

    @property
    def nbytes(self) -> int:
        """The memory of the vectors and of what is as large as they are."""
        return sum(block.nbytes for block in self.blocks)


def nbytes_of(value: object) -> int:
    """Return the bytes a part counts against the memory budget: vectors do, all else is small."""
    return value.nbytes if isinstance(value, Resident) else 0


def resident(view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> Resident:
    """Return the vectors held in memory, loading what is new."""
    wanted = _resident_length(view.parts.budget, spec, len(slot_map))

    def extend(old: Resident | None) -> Resident:
        blocks = list(old.blocks) if old is not None else []
        length = old.length if old is not None else 0
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
        return Resident(slot_map.slots, tuple(blocks), length)

    def fits(old: Resident) -> bool:
        return old.slots.agrees(slot_map.slots, old.length)

    def refresh(old: Resident, _version: int) -> Resident | None:
        return extend(old) if fits(old) else None

    key = ("vectors", entry.id)
    found = view.parts.get(view.session, view.record, key, lambda: extend(None), refresh)
    if not fits(found) or found.length < wanted:
        found = extend(found if fits(found) else None)
        view.parts.replace(view.session, view.record, key, found)
    return found


def _resident_length(budget: int, spec: VectorSpec, n: int) -> int:
    row_bytes = spec.row_bytes + code_bytes(spec)
    if n * row_bytes <= budget:
        return n
    blocks = int(budget * _PARTLY_RESIDENT) // (BLOCK_ROWS * row_bytes)
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
    return _blocks(view, entry, spec, slot_map, mask, held), held.length < len(slot_map)


def _blocks(
    view: View,
    entry: FieldRecord,
    spec: VectorSpec,
    slot_map: SlotMap,
    mask: NDArray[np.bool_] | None,
    held: Resident,
) -> Iterator[Block]:
    first = 0
    for block in held.blocks:
        part = None if mask is None else mask[first : first + block.vectors.length]
        if part is None or part.any():
            norms = None if block.norms is None else block.norms.view
            codes = None if block.codes is None else block.codes.view
            yield Block(first, block.vectors.view, norms, part, codes)
        first += block.vectors.length
    step = max(1, _STREAM_BYTES // spec.row_bytes)
    buffer = np.zeros((min(step, len(slot_map) - first), spec.width), spec.storage_dtype)
    with Reader(view.session, entry.id, spec) as reader:
        for start in range(first, len(slot_map), step):
            end = min(start + step, len(slot_map))
            part = None if mask is None else mask[start:end]
            if part is not None and not part.any():
                continue
            vectors = buffer[: end - start]
            read = _read(view, entry, slot_map, reader, start, vectors)
            yield Block(start, vectors, _checked_norms(vectors, spec, read), part)
