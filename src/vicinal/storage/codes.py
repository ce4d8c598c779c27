"""Codebooks and codes: what approximate search derives from vectors, kept as plain arrays with digests.

All of it may be lost or damaged at any time: that costs time, never data. A digest covers what a
piece is and where it belongs, so that one out of place does not pass for another.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from vicinal.errors import Corrupted
from vicinal.storage.schema import first_key, last_key, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from vicinal.storage.session import Session

PIECE_SLOTS: Final = 8192
"""Slots per stored piece of codes, at most."""
_DTYPES: Final = frozenset({"<i4", "<f4", "<f8", "|u1", "<i8"})
_LARGEST_BYTES: Final = 64 << 20
_DIGEST_BYTES: Final = 16


class StoredCodebook(NamedTuple):
    """A codebook as stored: its id, what is known about it, and its arrays."""

    id: int
    spec: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def add_codebook(session: Session, field: int, spec: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> int:
    """Store a codebook of a field; return its id."""
    data, text = _packed(arrays), json.dumps(spec)
    session.run(
        "insert into vicinal_codebook(field, spec, data, digest) values (?, ?, ?, x'')",
        (field, text, data),
    )
    identity = session.connection.last_insert_rowid()
    digest = codebook_digest(field, identity, data) + _digest("spec", identity, text.encode())
    session.run("update vicinal_codebook set digest = ? where id = ?", (digest, identity))
    return identity


def codebook(session: Session, field: int, identity: int) -> StoredCodebook:
    """Return a codebook of a field. Raises Corrupted where it is missing or not what was written."""
    found = session.run("select spec, data, digest from vicinal_codebook where id = ? and field = ?", (identity, field))
    if not found:
        message = f"codebook {identity} is missing"
        raise Corrupted(message)
    spec, data, digest = found[0]
    known = digest[:_DIGEST_BYTES] if isinstance(digest, bytes) else b""
    if not isinstance(data, bytes) or known != codebook_digest(field, identity, data):
        message = f"codebook {identity} is not what was written"
        raise Corrupted(message)
    return StoredCodebook(identity, _spec(identity, spec, digest), _unpacked(data))


def codebook_ids(session: Session, field: int) -> list[int]:
    """Return the ids of all codebooks of a field, oldest first: the one in use, and one in the making."""
    found = session.run("select id from vicinal_codebook where field = ? order by id", (field,))
    return [cast("int", row[0]) for row in found]


def describe_codebook(session: Session, identity: int) -> dict[str, Any]:
    """Return what is known about a codebook, {} where nothing is."""
    found = session.run("select spec, digest from vicinal_codebook where id = ?", (identity,))
    return _spec(identity, *found[0]) if found else {}


def change_codebook(session: Session, identity: int, spec: Mapping[str, object]) -> None:
    """Store what is known about a codebook."""
    text = json.dumps(spec)
    for (digest,) in session.run("select digest from vicinal_codebook where id = ?", (identity,)):
        renewed = cast("bytes", digest)[:_DIGEST_BYTES] + _digest("spec", identity, text.encode())
        session.run("update vicinal_codebook set spec = ?, digest = ? where id = ?", (text, renewed, identity))


def drop_codebook(session: Session, field: int, identity: int) -> None:
    """Remove a codebook of a field; maintenance removes its codes, which nobody owns any more."""
    session.run("delete from vicinal_codebook where id = ? and field = ?", (identity, field))


def _spec(identity: int, text: object, digest: object) -> dict[str, Any]:
    valid = isinstance(text, str) and isinstance(digest, bytes)
    valid = valid and digest[_DIGEST_BYTES:] == _digest("spec", identity, text.encode())  # type: ignore[index, attr-defined]
    try:
        found = json.loads(cast("str", text)) if valid else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        message = f"the description of codebook {identity} is damaged"
        raise Corrupted(message)
    return found


def add_codes(session: Session, identity: int, first: int, codes: NDArray[np.uint8]) -> None:
    """Store the codes (n, width) of slots `first`, `first + 1`, … under a codebook, in pieces."""
    for start in range(0, len(codes), PIECE_SLOTS):
        part = np.ascontiguousarray(codes[start : start + PIECE_SLOTS])
        key, data = first_key(identity) + first + start, part.tobytes()
        session.run(
            "insert or replace into vicinal_code(key, count, data, digest) values (?, ?, ?, ?)",
            (key, len(part), data, _digest("codes", key, data)),
        )


def read_codes(
    session: Session, identity: int, low: int, high: int, width: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (first slot, codes (n, width)) of the pieces that begin in [low, high). Raises Corrupted."""
    found = session.connection.execute(
        "select key, count, data, digest from vicinal_code where key >= ? and key < ? order by key",
        (first_key(identity) + low, first_key(identity) + high),
    )
    for key, count, data, digest in found:
        valid = isinstance(data, bytes) and isinstance(count, int) and len(data) == count * width
        if not valid or digest != _digest("codes", cast("int", key), cast("bytes", data)):
            message = f"the codes at slot {number_of(cast('int', key))} of codebook {identity} are not what was written"
            raise Corrupted(message)
        codes = np.frombuffer(cast("bytes", data), np.uint8).reshape(cast("int", count), width)
        yield number_of(cast("int", key)), codes


def nbytes(session: Session, identity: int) -> int:
    """Return the bytes of all codes of a codebook."""
    bounds = (first_key(identity), last_key(identity))
    found = session.run("select coalesce(sum(length(data)), 0) from vicinal_code where key between ? and ?", bounds)
    return cast("int", found[0][0])


def coded_until(session: Session, identity: int) -> int:
    """Return the slot behind the last one that has a code under a codebook. Raises Corrupted."""
    found = session.run(
        "select key, count from vicinal_code where key between ? and ? order by key desc limit 1",
        (first_key(identity), last_key(identity)),
    )
    if not found:
        return 0
    key, count = found[0]
    if not isinstance(count, int) or not 0 <= count <= PIECE_SLOTS:
        message = f"a piece of codes under codebook {identity} has a damaged count"
        raise Corrupted(message)
    return number_of(cast("int", key)) + count


_DEAD: Final = (
    "select code.key from vicinal_code code where code.key between ?1 and ?2 and not exists ("
    " select 1 from vicinal_chunk chunk where chunk.alive > 0"
    " and chunk.key >= coalesce((select max(key) from vicinal_chunk where key between ?3 and ?3 + code.key - ?1),"
    "  ?3 + code.key - ?1)"
    " and chunk.key < ?3 + code.key - ?1 + code.count) limit ?4"
)


def has_dead_codes(session: Session, field: int, identity: int) -> bool:
    """Return whether a piece of codes is left of which no slot is live. Cost: 10 µs per piece."""
    return bool(session.run(_DEAD, (first_key(identity), last_key(identity), first_key(field), 1)))


def drop_dead_codes(session: Session, field: int, identity: int, limit: int) -> None:
    """Delete up to `limit` pieces of codes of which no slot is live."""
    session.run(
        f"delete from vicinal_code where key in ({_DEAD})",  # noqa: S608 - a constant
        (first_key(identity), last_key(identity), first_key(field), limit),
    )


def codebook_digest(field: int, identity: int, data: bytes) -> bytes:
    """Return the digest of a codebook's arrays; that of its description stands behind it."""
    return _digest(f"codebook {field}", identity, data)


def _digest(kind: str, owner: int, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES, key=f"{kind} {owner}".encode()).digest()


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as one line that describes them, and their bytes."""
    plain = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    head = [[name, array.dtype.str, list(array.shape)] for name, array in plain.items()]
    return b"\n".join([json.dumps(head).encode(), b"".join(array.tobytes() for array in plain.values())])


def _unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    line, _, rest = data.partition(b"\n")
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for name, dtype, shape in json.loads(line):
            arrays[str(name)] = array = _array_at_start(rest, dtype, shape)
            rest = rest[array.nbytes :]
    except (ValueError, TypeError, RecursionError) as error:
        message = "the arrays of a codebook are damaged"
        raise Corrupted(message) from error
    return arrays


def _array_at_start(data: bytes, dtype: str, shape: list[int]) -> NDArray[Any]:
    if dtype not in _DTYPES or not all(type(length) is int and 0 <= length < 1 << 32 for length in shape):
        raise ValueError(dtype)
    size = math.prod([np.dtype(dtype).itemsize, *shape])
    if size > min(_LARGEST_BYTES, len(data)):
        raise ValueError(shape)
    found: NDArray[Any] = np.frombuffer(data[:size], dtype).reshape(shape)
    return found
