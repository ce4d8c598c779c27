"""The vectors of a field: in memory as far as the budget goes, streamed from the file beyond."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vicinal.engine.growing import Growing
from vicinal.index import BLOCK_ROWS, Block, row_norms
from vicinal.storage.chunks import Reader, spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

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
        read: list[tuple[NDArray[np.generic], Future[NDArray[np.float32] | None]]] = []
        # The norms of one block are computed while the next one is read.
        with Reader(view.session, entry.id, spec) as reader, ThreadPoolExecutor(1, "vicinal-norms") as pool:
            while length < wanted:
                end = min(wanted, (length // BLOCK_ROWS + 1) * BLOCK_ROWS)
                vectors = np.zeros((end - length, spec.width), spec.storage_dtype)
                _read(view, entry, slot_map, reader, length, vectors)
                read.append((vectors, pool.submit(row_norms, vectors, spec)))
                length = end
        for vectors, norms in read:
            if blocks and blocks[-1].vectors.length < BLOCK_ROWS:
                blocks[-1] = _longer(blocks[-1], vectors, norms.result())
            else:
                blocks.append(_block(vectors, norms.result()))
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


def _read(
    view: View, entry: FieldRecord, slot_map: SlotMap, reader: Reader, start: int, out: NDArray[np.generic]
) -> None:
    """Read the vectors of positions `start`, … into `out`, chunk by chunk; those of dropped chunks stay as is."""
    slots = slot_map.slots.view[start : start + len(out)]
    if not len(slots):
        return
    for first, count in spans(view.session, entry.id, int(slots[0]), int(slots[-1]) + 1):
        low, high = (int(at) for at in np.searchsorted(slots, (first, first + count)))
        if low < high:
            reader.into(first, int(slots[low]) - first, out[low:high])


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
            _read(view, entry, slot_map, reader, start, vectors)
            yield Block(start, vectors, row_norms(vectors, spec), part)
