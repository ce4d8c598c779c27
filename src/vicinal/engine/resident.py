"""The vectors of a field: in memory as far as the budget goes, streamed from the file beyond."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from vicinal.engine.growing import Growing
from vicinal.index import BLOCK_ROWS, Block, row_norms
from vicinal.storage.chunks import Reader, check, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

_STREAM_BYTES: Final = 16 << 20
_PARTLY_RESIDENT: Final = 0.6  # of the budget: the rest is for what a search works with


@dataclass(frozen=True, slots=True)
class _ResidentBlock:
    vectors: Growing[np.generic]
    norms: Growing[np.float32] | None


@dataclass(frozen=True, slots=True)
class Resident:
    """Vectors of the first `length` positions of a slot map, in whole blocks; `slots` are the map's."""

    slots: Growing[np.int64]
    blocks: tuple[_ResidentBlock, ...]
    length: int

    @property
    def nbytes(self) -> int:
        """The memory of the vectors."""
        return sum(block.vectors.view.nbytes for block in self.blocks)


def nbytes_of(value: object) -> int:
    """Return the bytes a part counts against the memory budget: vectors do, all else is small."""
    return value.nbytes if isinstance(value, Resident) else 0


def resident(view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap) -> Resident:
    """Return the vectors held in memory, loading what is new."""
    wanted = _resident_length(view.parts.budget, spec, len(slot_map))

    def extend(old: Resident | None) -> Resident:
        blocks = list(old.blocks) if old is not None else []
        length = old.length if old is not None else 0
        read: list[tuple[NDArray[np.generic], Callable[[], _Norms]]] = []
        with Reader(view.session, entry.id, spec) as reader, _Beside(wanted - length > BLOCK_ROWS) as beside:
            while length < wanted:
                end = min(wanted, (length // BLOCK_ROWS + 1) * BLOCK_ROWS)
                vectors = np.zeros((end - length, spec.width), spec.storage_dtype)
                finish = partial(_checked_norms, vectors, spec, _read(view, entry, slot_map, reader, length, vectors))
                read.append((vectors, beside.start(finish)))
                length = end
            for vectors, norms in read:
                if blocks and blocks[-1].vectors.length < BLOCK_ROWS:
                    blocks[-1] = _longer(blocks[-1], vectors, norms())
                else:
                    blocks.append(_block(vectors, norms()))
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
    if n * spec.row_bytes <= budget:
        return n
    blocks = int(budget * _PARTLY_RESIDENT) // (BLOCK_ROWS * spec.row_bytes)
    return min(n, blocks * BLOCK_ROWS)


def _block(vectors: NDArray[np.generic], norms: NDArray[np.float32] | None) -> _ResidentBlock:
    return _ResidentBlock(Growing.of(vectors), None if norms is None else Growing.of(norms))


def _longer(block: _ResidentBlock, vectors: NDArray[np.generic], norms: NDArray[np.float32] | None) -> _ResidentBlock:
    longer = None if block.norms is None or norms is None else block.norms.appended(norms)
    return _ResidentBlock(block.vectors.appended(vectors), longer)


_Norms = NDArray[np.float32] | None


class _Beside:
    """Runs work in another thread while the next block is read, where there is more than one block."""

    def __init__(self, worthwhile: bool) -> None:  # noqa: FBT001 - private
        self._pool = ThreadPoolExecutor(1, "vicinal-norms") if worthwhile else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, work: Callable[[], _Norms]) -> Callable[[], _Norms]:
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


def _checked_norms(vectors: NDArray[np.generic], spec: VectorSpec, read: _Read) -> _Norms:
    """Return the norms of vectors just read. Raises Corrupted where they are not what was written."""
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
            yield Block(first, block.vectors.view, None if block.norms is None else block.norms.view, part)
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
