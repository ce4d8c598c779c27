"""Graphs and lists in the file: plain arrays, cut into pieces, each with a digest bound to its place.

A structure is staged under a row that no field names, in small transactions, and published by naming it
in its field. What is staged and never published has no owner; maintenance removes it. All of it is
derived, and may be lost or damaged at any time: that costs time, never data.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from vicinal.errors import Corrupted
from vicinal.storage.schema import first_key, last_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from vicinal.storage.session import Session

PIECE_BYTES: Final = 1 << 20
_DTYPES: Final = frozenset({"<i4", "<i8", "<f4", "<f8", "<u2", "|u1"})


@dataclass(frozen=True, slots=True)
class Packed:
    """Arrays one after the other, and the words that describe them: `[name, dtype, shape]` each."""

    head: list[list[Any]]
    arrays: tuple[NDArray[Any], ...]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Packed:
        """Take over arrays, which must not change while they are written."""
        plain = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
        return cls([[name, each.dtype.str, list(each.shape)] for name, each in plain.items()], tuple(plain.values()))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays)

    def pieces(self) -> Iterator[bytes]:
        """Yield all bytes in pieces of `PIECE_BYTES`, the last one shorter."""
        waiting = bytearray()
        for array in self.arrays:
            rest = memoryview(array.reshape(-1).view(np.uint8).data)
            while rest:
                taken = min(len(rest), PIECE_BYTES - len(waiting))
                waiting += rest[:taken]
                rest = rest[taken:]
                if len(waiting) == PIECE_BYTES:
                    yield bytes(waiting)
                    waiting.clear()
        if waiting:
            yield bytes(waiting)


def begin(session: Session, field: int) -> int:
    """Make the row under which a structure of a field is staged; return its id."""
    session.run("insert into vicinal_structure(field, spec, digest) values (?, '', x'')", (field,))
    return session.connection.last_insert_rowid()


def stage(session: Session, identity: int, number: int, data: bytes) -> bool:
    """Store a piece; False where the row it belongs to was removed meanwhile."""
    if not session.run("select 1 from vicinal_structure where id = ?", (identity,)):
        return False
    key = first_key(identity) + number
    session.run(
        "insert or replace into vicinal_piece(key, data, digest) values (?, ?, ?)",
        (key, data, _digest(f"piece {key}", data)),
    )
    return True


def describe(session: Session, field: int, identity: int, spec: Mapping[str, object]) -> bool:
    """Store what is known about a structure; False where its row was removed."""
    text = json.dumps(spec)
    session.run(
        "update vicinal_structure set spec = ?, digest = ? where id = ? and field = ?",
        (text, _digest(f"structure {identity} of {field}", text.encode()), identity, field),
    )
    return session.connection.changes() == 1


def described(session: Session, field: int, identity: int) -> dict[str, Any]:
    """Return what is known about a structure. Raises Corrupted where it is missing or not what was written."""
    found = session.run("select spec, digest from vicinal_structure where id = ? and field = ?", (identity, field))
    if not found:
        message = f"index {identity} is missing"
        raise Corrupted(message)
    text, digest = found[0]
    if not isinstance(text, str) or digest != _digest(f"structure {identity} of {field}", _encoded(text)):
        message = f"the description of index {identity} is not what was written"
        raise Corrupted(message)
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"the description of index {identity} is not JSON"
        raise Corrupted(message) from error
    if not isinstance(spec, dict):
        message = f"the description of index {identity} is not one"
        raise Corrupted(message)
    return spec


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def read(session: Session, identity: int, head: object) -> dict[str, NDArray[Any]]:
    """Return the arrays of a structure that `head` describes. Raises Corrupted.

    Cost: 1 ms per megabyte. Memory: what the pieces hold, once.
    """
    places = _places(head)
    size = sum(nbytes for *_, nbytes in places)
    bounds = (first_key(identity), last_key(identity))
    stored = session.run("select count(*), sum(length(data)) from vicinal_piece where key between ? and ?", bounds)
    if stored[0][0] != -(-size // PIECE_BYTES) or (size and stored[0][1] != size):
        message = f"index {identity} has {stored[0][1] or 0} bytes in {stored[0][0]} pieces, not {size}"
        raise Corrupted(message)
    whole, at = bytearray(size), 0
    found = session.connection.execute(
        "select key, data, digest from vicinal_piece where key between ? and ? order by key", bounds
    )
    for number, (key, data, digest) in enumerate(found):
        right = key == first_key(identity) + number and isinstance(data, bytes)
        if not right or digest != _digest(f"piece {key}", cast("bytes", data)):
            message = f"piece {number} of index {identity} is not what was written"
            raise Corrupted(message)
        whole[at : at + len(cast("bytes", data))] = cast("bytes", data)
        at += len(cast("bytes", data))
    if at != size or len(whole) != size:
        message = f"index {identity} has {at} bytes, not {size}"
        raise Corrupted(message)
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for name, dtype, shape, nbytes in places:
        arrays[name] = np.frombuffer(whole, dtype, math.prod(shape), at).reshape(shape)
        at += nbytes
    return arrays


def _places(head: object) -> list[tuple[str, str, list[int], int]]:
    """Return name, type, shape and bytes of each array. Raises Corrupted for what describes none."""
    try:
        places = [_place(str(name), dtype, list(shape)) for name, dtype, shape in head]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        message = "the arrays of an index are not described as they should be"
        raise Corrupted(message) from error
    return places


def _place(name: str, dtype: object, shape: list[Any]) -> tuple[str, str, list[int], int]:
    if dtype not in _DTYPES or not all(type(length) is int and 0 <= length < 1 << 40 for length in shape):
        raise ValueError(dtype)
    return name, str(dtype), shape, math.prod([np.dtype(str(dtype)).itemsize, *shape])


def drop(session: Session, field: int, identity: int) -> None:
    """Remove a structure of a field; maintenance removes its pieces, which nobody owns any more."""
    session.run("delete from vicinal_structure where id = ? and field = ?", (identity, field))


_STRAY: Final = (
    "select id from vicinal_structure structure where not exists ("
    " select 1 from vicinal_field field where field.id = structure.field and field.structure = structure.id)"
)


def has_strays(session: Session) -> bool:
    """Return whether there are structures that no field names: in the making, or left by a builder that was killed."""
    return bool(session.run(f"{_STRAY} limit 1"))


def drop_strays(session: Session) -> None:
    """Remove the structures that no field names; for the one who may build."""
    session.run(f"delete from vicinal_structure where id in ({_STRAY})")  # noqa: S608 - a constant


def nbytes(session: Session, identity: int) -> int:
    """Return the bytes of all pieces."""
    bounds = (first_key(identity), last_key(identity))
    found = session.run("select coalesce(sum(length(data)), 0) from vicinal_piece where key between ? and ?", bounds)
    return cast("int", found[0][0])


def _digest(what: str, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16, key=what.encode()).digest()
