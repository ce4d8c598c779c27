"""Blocks of vectors as they are read from the file: checked, with what searches need beside them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from vicinal.engine.growing import Growing
from vicinal.engine.twins import side_by_side
from vicinal.index import BLOCK_ROWS, ByteCodes, Levels, Rounded, row_norms, share
from vicinal.storage.chunks import Reader, check, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

_TAKEN: Final = 32
"""Chunks that a thread reads before it asks for more."""


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
class ResidentBlock:
    """Vectors of up to `BLOCK_ROWS` positions in memory, and what searches need beside them."""

    vectors: Growing[np.generic]
    norms: Growing[np.float32] | None
    codes: _Codes | None

    def longer(self, more: ResidentBlock, spec: VectorSpec) -> ResidentBlock:
        """Return this block with the rows of another behind."""
        rows = more.vectors.view
        norms = None if self.norms is None or more.norms is None else self.norms.appended(more.norms.view)
        vectors = self.vectors.appended(rows)
        codes = _Codes.of(vectors.view, spec) if self.codes is None else self.codes.appended(rows)
        return ResidentBlock(vectors, norms, codes)

    @property
    def nbytes(self) -> int:
        """The memory of what is as large as vectors are."""
        return self.vectors.view.nbytes + (0 if self.codes is None else self.codes.codes.view.nbytes)


Place = tuple["NDArray[Any]", "NDArray[np.float32]"]


def place_for(n: int, spec: VectorSpec) -> Place:
    """Return zeros for the vectors and the norms of `n` rows."""
    return np.zeros((n, spec.width), spec.storage_dtype), np.zeros(n, np.float32)


class Room:
    """Memory for blocks side by side, so that rows of all of them are fetched at once.

    It is reserved for twice the blocks known to come; pages that nothing was written to cost nothing.
    """

    def __init__(self) -> None:
        self._free: list[Place] = []

    def block(self, spec: VectorSpec, known: int) -> Place:
        """Return zeros for the vectors and the norms of one block, of `known` that follow one another."""
        if not self._free:
            vectors, norms = place_for(2 * known * BLOCK_ROWS, spec)
            starts = range(0, len(vectors), BLOCK_ROWS)
            self._free = [(vectors[at : at + BLOCK_ROWS], norms[at : at + BLOCK_ROWS]) for at in starts][::-1]
        return self._free.pop()


@dataclass(frozen=True, slots=True)
class ReadRows:
    """What was read into an array of vectors: rows of it, their slots, and the checksums to find."""

    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    sums: NDArray[np.uint32]


class BlockMaker:
    """Makes blocks of vectors just read, one after the other; their codes share levels where they can."""

    def __init__(self, spec: VectorSpec, like: _Codes | None) -> None:
        self._spec = spec
        self._like = like.levels if like is not None else None

    def block(self, vectors: NDArray[np.generic], read: ReadRows, place: Place) -> ResidentBlock:
        """Return the block, which grows in its `place`. Raises Corrupted where vectors are not what was written."""
        norms = checked_norms(vectors, self._spec, read)
        codes = _Codes.of(vectors, self._spec, self._like)
        if codes is not None:
            self._like = codes.levels
        kept = None
        if norms is not None:
            place[1][: len(norms)] = norms
            kept = Growing.within(place[1], len(norms))
        return ResidentBlock(Growing.within(place[0], len(vectors)), kept, codes)


class Beside:
    """Runs work in another thread while the next block is read, where there is more than one block."""

    def __init__(self, worthwhile: bool) -> None:  # noqa: FBT001 - private
        self._pool = ThreadPoolExecutor(1, "vicinal-norms") if worthwhile else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, work: Callable[[], ResidentBlock]) -> Callable[[], ResidentBlock]:
        """Begin `work`; return what waits for its result."""
        if self._pool is None:
            return work
        return self._pool.submit(work).result


def read_live(
    view: View, entry: FieldRecord, spec: VectorSpec, slot_map: SlotMap, part: slice
) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
    """Return the slots (n,) and the vectors (n, width) of the live positions in a range, read from the file."""
    vectors = np.zeros((part.stop - part.start, spec.width), spec.storage_dtype)
    with Reader(view.session, entry.id, spec) as reader:
        read = read_into(view, entry, slot_map, [reader], part.start, vectors)
    live = vectors if len(read.rows) == len(vectors) else vectors[read.rows]
    check(live, read.slots, read.sums)
    return read.slots, live


def checked_norms(vectors: NDArray[np.generic], spec: VectorSpec, read: ReadRows) -> NDArray[np.float32] | None:
    """Return `row_norms` of vectors just read. Raises Corrupted where they are not what was written."""
    check(vectors if len(read.rows) == len(vectors) else vectors[read.rows], read.slots, read.sums)
    return row_norms(vectors, spec)


@contextmanager
def readers_of(view: View, entry: FieldRecord, spec: VectorSpec, n: int) -> Iterator[list[Reader]]:
    """Lend what reads vectors of a field; for more than a block of them, two readers where that can be."""
    with (
        side_by_side(view.session, view.record.id, worthwhile=n > BLOCK_ROWS) as sessions,
        ExitStack() as stack,
    ):
        yield [stack.enter_context(Reader(session, entry.id, spec)) for session in sessions]


def read_into(
    view: View,
    entry: FieldRecord,
    slot_map: SlotMap,
    readers: Sequence[Reader],
    start: int,
    out: NDArray[np.generic],
) -> ReadRows:
    """Read the vectors of positions `start`, … into `out`, chunk by chunk; those of dropped chunks stay as is.

    What comes back names the live ones, which are to be checked. Each of the readers is used by one thread.
    """
    end = start + len(out)
    slots, live = slot_map.slots.view[start:end], slot_map.live[start:end].copy()
    sums = np.zeros(len(out), np.uint32)
    done = 0
    found: list[tuple[int, int, NDArray[np.generic]]] = []
    chunks = spans(view.session, entry.id, int(slots[0]), int(slots[-1]) + 1) if len(slots) else []
    firsts = np.array([chunk.first for chunk in chunks], np.int64)
    lows = np.searchsorted(slots, firsts).tolist()
    highs = np.searchsorted(slots, firsts + np.array([chunk.written for chunk in chunks], np.int64)).tolist()
    for chunk, low, high in zip(chunks, lows, highs, strict=True):
        if low < high:
            own = slots[low:high] - chunk.first
            found.append((chunk.first, int(own[0]), out[low:high]))
            sums[low:high] = chunk.sums[own]
        live[done:low] = False  # of no chunk
        done = high
    live[done:] = False
    _read_all(readers, found)
    rows = np.flatnonzero(live)
    return ReadRows(rows, slots[rows], sums[rows])


def _read_all(readers: Sequence[Reader], chunks: Sequence[tuple[int, int, NDArray[np.generic]]]) -> None:
    """Read parts of chunks, each from its first slot and an offset on; threads take them some at a time."""

    def read(part: Sequence[tuple[int, int, NDArray[np.generic]]], worker: int) -> None:
        for first, offset, out in part:
            readers[worker].into(first, offset, out)

    if len(readers) == 1:
        read(chunks, 0)
    else:
        share((partial(read, chunks[at : at + _TAKEN]) for at in range(0, len(chunks), _TAKEN)), len(readers))
