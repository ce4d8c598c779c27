"""Vectors in chunks: written once, read whole or by slot; liveness and rows beside them."""

from __future__ import annotations

import json
import operator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast

import apsw
import numpy as np

from vicinal.errors import Corrupted
from vicinal.storage.schema import first_key, last_key, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from vicinal.storage.session import Session
    from vicinal.vectors import VectorSpec

_CHUNK_BYTES: Final = 128 << 10
_FIRST_CHUNK_BYTES: Final = 4 << 10
_MAX_SLOTS: Final = 1024


class Chunk(NamedTuple):
    """A chunk without its vectors: which rows its slots hold, and which of them are live."""

    first: int
    written: int
    alive: int
    live: NDArray[np.bool_]
    rows: NDArray[np.int64]


def capacity_of(first: int, n_coming: int, row_bytes: int) -> int:
    """Return how many slots a new chunk gets: small ones first, doubling up to the full size."""
    full = min(_MAX_SLOTS, max(1, _CHUNK_BYTES // row_bytes))
    small = min(16, max(1, _FIRST_CHUNK_BYTES // row_bytes))
    return min(full, max(small, first, n_coming))


def append(
    session: Session,
    field: int,
    first_slot: int,
    vectors: NDArray[np.generic],
    rows: NDArray[np.int64],
    version: int,
) -> None:
    """Write vectors (n, width) into slots `first_slot`, `first_slot + 1`, …, all live.

    The tail chunk is filled in place: only the pages that change reach the log.
    """
    row_bytes = vectors.shape[1] * vectors.itemsize
    done = _fill_tail(session, field, first_slot, vectors, rows, version)
    while done < len(vectors):
        slot = first_slot + done
        capacity = capacity_of(slot, len(vectors) - done, row_bytes)
        part = vectors[done : done + capacity]
        key = first_key(field) + slot
        data = _bytes_of(part)
        if len(part) == capacity:
            session.connection.execute("insert into vicinal_vector(key, data) values (?, ?)", (key, data))
        else:
            blank = apsw.zeroblob(capacity * row_bytes)
            session.connection.execute("insert into vicinal_vector(key, data) values (?, ?)", (key, blank))
            with session.connection.blob_open("main", "vicinal_vector", "data", key, True) as blob:
                blob.write(data)
        live = np.ones(len(part), np.bool_)
        session.connection.execute(
            "insert into vicinal_chunk(key, field, version, capacity, count, alive, live, rows, sums) "
            "values (?,?,?,?,?,?,?,?,?)",
            (
                *(key, field, version, capacity, len(part), len(part)),
                *_packed(live, rows[done : done + capacity]),
                checksums(part, np.arange(slot, slot + len(part))).tobytes(),
            ),
        )
        done += len(part)


def _fill_tail(
    session: Session,
    field: int,
    first_slot: int,
    vectors: NDArray[np.generic],
    rows: NDArray[np.int64],
    version: int,
) -> int:
    found = session.run(
        "select key, capacity, count, live, rows, sums from vicinal_chunk where key between ? and ? "
        "order by key desc limit 1",
        (first_key(field), last_key(field)),
    )
    if not found:
        return 0
    key, capacity, count = (cast("int", value) for value in found[0][:3])
    taken = min(capacity - count, len(vectors))
    if taken <= 0 or number_of(key) + count != first_slot:
        return 0
    live, old_rows = _unpacked(found[0][3], found[0][4], count)
    with session.connection.blob_open("main", "vicinal_vector", "data", key, True) as blob:
        blob.seek(count * vectors.shape[1] * vectors.itemsize)
        blob.write(_bytes_of(vectors[:taken]))
    live = np.concatenate([live, np.ones(taken, np.bool_)])
    sums = cast("bytes", found[0][5]) + checksums(vectors[:taken], np.arange(first_slot, first_slot + taken)).tobytes()
    session.connection.execute("update vicinal_chunk set sums = ? where key = ?", (sums, key))
    _store(session, key, version, live, np.concatenate([old_rows, rows[:taken]]))
    return taken


def checksums(vectors: NDArray[np.generic], slots: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return one checksum per vector (n,): any flipped bit, and any swap of two slots, changes it.

    Cost: memory speed.
    """
    data = np.ascontiguousarray(vectors).view(np.uint8)
    if data.shape[1] % 4:
        data = np.pad(data, ((0, 0), (0, -data.shape[1] % 4)))
    folded: NDArray[np.uint32] = np.bitwise_xor.reduce(data.view("<u4"), axis=1)
    folded ^= (slots.astype(np.uint64) * np.uint64(0x9E3779B1)).astype("<u4")
    return folded


def _bytes_of(vectors: NDArray[np.generic]) -> memoryview:
    return memoryview(cast("Any", vectors)).cast("B")


def _packed(live: NDArray[np.bool_], rows: NDArray[np.int64]) -> tuple[bytes, bytes]:
    return np.packbits(live, bitorder="little").tobytes(), rows.astype("<i8", copy=False).tobytes()


def _unpacked(live: object, rows: object, count: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    if not rows:  # a dropped chunk
        return np.zeros(count, np.bool_), np.zeros(count, np.int64)
    numbers = np.frombuffer(cast("bytes", rows), "<i8")
    bits = np.frombuffer(cast("bytes", live), np.uint8)
    if len(numbers) != count or len(bits) != (count + 7) // 8:
        message = "a chunk's table of rows is damaged; run: vicinal verify --repair"
        raise Corrupted(message)
    return np.unpackbits(bits, count=count, bitorder="little").view(np.bool_), numbers


def _store(session: Session, key: int, version: int, live: NDArray[np.bool_], rows: NDArray[np.int64]) -> None:
    session.connection.execute(
        "update vicinal_chunk set version=?, count=?, alive=?, live=?, rows=? where key=?",
        (version, len(live), int(live.sum()), *_packed(live, rows), key),
    )


def kill(session: Session, field: int, slots: NDArray[np.int64], version: int) -> None:
    """Mark slots dead; their vectors stay until maintenance drops the chunk."""
    slots = np.sort(slots)
    done = 0
    base = first_key(field)
    while done < len(slots):
        found = session.run(
            "select key, count, live, rows from vicinal_chunk where key between ? and ? order by key desc limit 1",
            (base, base + int(slots[done])),
        )
        if not found:
            message = f"slot {int(slots[done])} lies in no chunk; run: vicinal verify --repair"
            raise Corrupted(message)
        key, count = cast("int", found[0][0]), cast("int", found[0][1])
        live, rows = _unpacked(found[0][2], found[0][3], count)
        first = number_of(key)
        end = int(np.searchsorted(slots, first + count))
        if end <= done:
            message = f"slot {int(slots[done])} lies in no chunk; run: vicinal verify --repair"
            raise Corrupted(message)
        live[slots[done:end] - first] = False
        _store(session, key, version, live, rows)
        done = end


def changed(session: Session, field: int, since: int) -> Iterator[Chunk]:
    """Yield the chunks that changed after version `since` (-1: all), in slot order."""
    sql = "select key, count, alive, live, rows from vicinal_chunk where "
    if since < 0:
        found = session.connection.execute(
            sql + "key between ? and ? order by key", (first_key(field), last_key(field))
        )
    else:
        found = session.connection.execute(sql + "field = ? and version > ? order by key", (field, since))
    for key, count, alive, live, rows in found:
        yield Chunk(
            number_of(cast("int", key)),
            cast("int", count),
            cast("int", alive),
            *_unpacked(live, rows, cast("int", count)),
        )


_AT_ONCE: Final = 4096
_CHUNKS_OF: Final = """
    select wanted.value, chunk.key, chunk.count, substr(chunk.sums, 4 * (?1 + wanted.value - chunk.key) + 1, 4)
    from json_each(?2) as wanted cross join vicinal_chunk as chunk
    on chunk.key = (select max(key) from vicinal_chunk where key between ?1 and ?1 + wanted.value)"""


class Reader:
    """Reads vectors by chunk and by slot within the session's snapshot; one open blob handle."""

    def __init__(self, session: Session, field: int, spec: VectorSpec) -> None:
        self._connection = session.connection
        self._base = first_key(field)
        self._spec = spec
        self._blob: apsw.Blob | None = None
        self._key = -1
        self._row_bytes = spec.row_bytes

    def into(self, first: int, offset: int, out: NDArray[np.generic]) -> None:
        """Read len(out) vectors into `out` (n, width), from slot `first + offset` of chunk `first`."""
        if len(out):
            self._read(first, offset, _bytes_of(out), 0, len(out))

    def _read(self, first: int, offset: int, out: memoryview, at: int, n: int) -> None:
        """Read n vectors into the bytes of `out`, from its vector number `at` on."""
        key, row_bytes = self._base + first, self._row_bytes
        try:
            if self._blob is None:
                self._blob = self._connection.blob_open("main", "vicinal_vector", "data", key, False)
            elif key != self._key:
                self._blob.reopen(key)
            self._key = key
            self._blob.seek(offset * row_bytes)
            self._blob.read_into(out, at * row_bytes, n * row_bytes)
        except (apsw.SQLError, ValueError) as error:
            message = f"the vectors of slots {first + offset} to {first + offset + n - 1} are missing"
            raise Corrupted(message) from error

    def at(self, slots: Sequence[int] | NDArray[np.int64]) -> NDArray[np.generic]:
        """Return the vectors (n, width) of these slots, in the order given. Raises Corrupted."""
        wanted = np.asarray(slots, np.int64)
        out = np.empty((len(wanted), self._spec.width), self._spec.storage_dtype)
        if not len(wanted):
            return out
        sums, memory = np.empty(len(wanted), np.uint32), _bytes_of(out)
        order = np.argsort(wanted, kind="stable")  # the file is read in order
        for start in range(0, len(order), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            ascending = wanted[part].tolist()
            firsts, sums[part] = self._chunks_of(ascending)
            for position, slot, first in zip(part.tolist(), ascending, firsts, strict=True):
                self._read(first, slot - first, memory, position, 1)
        check(out, wanted, sums)
        return out

    def _chunks_of(self, slots: list[int]) -> tuple[list[int], NDArray[np.uint32]]:
        """Return the first slot of each slot's chunk, and its checksum (n,)."""
        found = self._connection.execute(_CHUNKS_OF, (self._base, json.dumps(slots))).fetchall()
        firsts = [number_of(cast("int", row[1])) for row in found]
        sums = b"".join(cast("bytes", row[3]) for row in found)
        ends = [first + cast("int", row[2]) for first, row in zip(firsts, found, strict=True)]
        sound = [row[0] for row in found] == slots and len(sums) == 4 * len(slots)
        if not sound or any(map(operator.ge, slots, ends)):
            message = (
                f"not all of the slots {slots[0]} to {slots[-1]} lie in a sound chunk; run: vicinal verify --repair"
            )
            raise Corrupted(message)
        return firsts, np.frombuffer(sums, "<u4")

    def close(self) -> None:
        """Close the blob handle."""
        if self._blob is not None:
            self._blob.close()
            self._blob = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Span(NamedTuple):
    """The written slots of a chunk, and the checksums of their vectors."""

    first: int
    written: int
    sums: NDArray[np.uint32]


def spans(session: Session, field: int, low: int, high: int) -> list[Span]:
    """Return the chunks, without dropped ones, that hold any slot in [low, high), in slot order."""
    base = first_key(field)
    found = session.run(
        "select key, count, sums from vicinal_chunk where key >= coalesce("
        "(select max(key) from vicinal_chunk where key between ?1 and ?2), ?2) and key < ?3 and capacity > 0 "
        "order by key",
        (base, base + low, base + high),
    )
    return [_span(*row) for row in found]


def _span(key: object, count: object, sums: object) -> Span:
    found = Span(number_of(cast("int", key)), cast("int", count), np.frombuffer(cast("bytes", sums), "<u4"))
    if len(found.sums) != found.written:
        message = f"the checksums of the chunk at slot {found.first} are damaged; run: vicinal verify"
        raise Corrupted(message)
    return found


def check(vectors: NDArray[np.generic], slots: NDArray[np.int64], sums: NDArray[np.uint32]) -> None:
    """Raise Corrupted where a vector is not the one that was written."""
    bad = slots[checksums(vectors, slots) != sums]
    if len(bad):
        message = (
            f"{len(bad)} stored vectors are no longer what was written, the first in slot {int(bad[0])}: "
            "run vicinal verify, which names their rows, then delete or replace these, or restore a backup"
        )
        raise Corrupted(message)


def sparse(session: Session, field: int, limit: int) -> list[int]:
    """Return the first slots of chunks of which less than four fifths is live, but not the last chunk.

    The last chunk may still grow; it is left alone unless nothing in it is live.
    """
    last = session.run(
        "select max(key) from vicinal_chunk where key between ? and ?", (first_key(field), last_key(field))
    )
    found = session.run(
        "select key from vicinal_chunk where field = ? and alive * 5 < count * 4 and capacity > 0 "
        "and (key < ? or alive = 0) limit ?",
        (field, last[0][0] or 0, limit),
    )
    return [number_of(cast("int", row[0])) for row in found]


def live_slots(session: Session, field: int, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the live slots of one chunk, and the row of each."""
    found = session.run("select count, live, rows from vicinal_chunk where key = ?", (first_key(field) + first,))
    live, rows = _unpacked(found[0][1], found[0][2], cast("int", found[0][0]))
    return first + np.flatnonzero(live), rows[live]


def drop(session: Session, field: int, first: int, version: int) -> None:
    """Delete the vectors of a chunk; a stub remains that tells readers its slots are dead."""
    key = first_key(field) + first
    session.run("delete from vicinal_vector where key = ?", (key,))
    session.run(
        "update vicinal_chunk set version=?, capacity=0, alive=0, live=x'', rows=x'', sums=x'' where key=?",
        (version, key),
    )


def purge_stubs(session: Session, field: int) -> None:
    """Delete the stubs of dropped chunks; readers of older versions must then load anew."""
    session.run("delete from vicinal_chunk where field = ? and alive * 5 < count * 4 and capacity = 0", (field,))


def count_stubs(session: Session, field: int) -> int:
    """Return how many stubs of dropped chunks there are."""
    sql = "select count(*) from vicinal_chunk where field = ? and alive * 5 < count * 4 and capacity = 0"
    return cast("int", session.run(sql, (field,))[0][0])


def stored_sums(session: Session, field: int, first: int) -> NDArray[np.uint32]:
    """Return the checksums stored for the slots of one chunk."""
    found = session.run("select sums from vicinal_chunk where key = ?", (first_key(field) + first,))
    return np.frombuffer(cast("bytes", found[0][0]), "<u4")


def rebuild(session: Session, field: int, owner: dict[int, int], version: int) -> None:
    """Rewrite which slots are live, and for which row, from `owner` (slot -> row)."""
    found = session.run(
        "select key, count from vicinal_chunk where key between ? and ? and capacity > 0 order by key",
        (first_key(field), last_key(field)),
    )
    for key, count in found:
        first = number_of(cast("int", key))
        slots = range(first, first + cast("int", count))
        live = np.fromiter((slot in owner for slot in slots), np.bool_, len(slots))
        rows = np.fromiter((owner.get(slot, 0) for slot in slots), np.int64, len(slots))
        _store(session, cast("int", key), version, live, rows)
