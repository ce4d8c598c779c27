"""The row table: ids, metadata, documents, expiry and slots, and the versions of row blocks."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import apsw
import numpy as np

from vicinal.errors import Corrupted
from vicinal.storage.schema import BLOCK_ROWS, first_key, last_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from vicinal.storage.session import Session

Id = int | str
NO_SLOT: Final = -1
_AT_ONCE: Final = 500
_PATCHED_AT_ONCE: Final = 64  # SQLite limits how deep functions nest
_INSERTED_AT_ONCE: Final = 50
"""Rows per statement: half the time of a statement per row, which also pushes all others out of the cache.

"or fail" leaves the rows before the one that fails, and so needs no copies of pages to undo a statement.
"""
_INSERT: Final = "insert or fail into vicinal_row(key, collection, id, slots, expires, metadata, document) values "
_INSERTED: Final = "(?,?,?,?,?,?,?)"
_WIDTH: Final = _INSERTED.count("?")


class StoredRow(NamedTuple):
    """A row as stored; `row` is its number within the collection."""

    row: int
    id: Id
    slots: tuple[int, ...]
    expires: int | None
    metadata: str | None
    document: str | None


def pack_slots(slots: Iterable[int]) -> bytes:
    """Return slots, one per field in the order of the fields, as stored."""
    return b"".join(slot.to_bytes(8, "little", signed=True) for slot in slots)


def unpack_slots(data: bytes, n_fields: int) -> tuple[int, ...]:
    """Return one slot per field; fields added after the row was written have none."""
    if not isinstance(data, bytes) or len(data) % 8:
        message = "a row's slots are damaged; run: vicinal verify"
        raise Corrupted(message)
    found = tuple(
        int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, min(len(data), 8 * n_fields), 8)
    )
    return found + (NO_SLOT,) * (n_fields - len(found)) if len(found) < n_fields else found


def insert(session: Session, collection: int, numbers: NDArray[np.int64], columns: Iterable[Iterable[object]]) -> bool:
    """Insert rows of these numbers; False, and nothing inserted, where an id is taken.

    columns: ids, slots (packed), expires, metadata and documents, a value per row each. Cost: 2 µs per row.
    Raises Corrupted where a number is taken.
    """
    before = session.connection.total_changes()
    keys = (numbers + first_key(collection)).tolist()
    values = list(chain.from_iterable(zip(keys, [collection] * len(keys), *columns, strict=True)))
    step = _INSERTED_AT_ONCE * _WIDTH
    try:
        for start in range(0, len(values), step):
            part = values[start : start + step]
            session.connection.execute(_INSERT + ",".join([_INSERTED] * (len(part) // _WIDTH)), part)
    except apsw.ConstraintError as error:
        if error.extendedresult != apsw.SQLITE_CONSTRAINT_UNIQUE:  # type: ignore[attr-defined]  # the stubs lack it
            message = "the number of a new row is taken: the catalog is damaged; run: vicinal verify"
            raise Corrupted(message) from error
        delete(session, collection, numbers[: session.connection.total_changes() - before].tolist())
        return False
    return True


def rewrite(
    session: Session, collection: int, rows: Iterable[tuple[int, bytes, int | None, str | None, str | None]]
) -> None:
    """Replace (row, slots, expires, metadata, document) of rows that exist; the id stays."""
    base = first_key(collection)
    session.connection.executemany(
        "update vicinal_row set slots=?2, expires=?3, metadata=?4, document=?5 where key=?1",
        ((base + row[0], *row[1:]) for row in rows),
    )


_FEW: Final = 16
"""So few rows are looked up one by one: a list or an array takes four times as long to set up."""
_COLUMNS: Final = "key, id, slots, expires, metadata, document"


def _stored(raw: Sequence[object], n_fields: int, base: int) -> StoredRow:
    key, identity, slots, expires, metadata, document = raw
    return StoredRow(
        cast("int", key) - base,
        cast("Id", identity),
        unpack_slots(cast("bytes", slots), n_fields),
        cast("int | None", expires),
        cast("str | None", metadata),
        cast("str | None", document),
    )


def by_ids(session: Session, collection: int, ids: Sequence[Id], n_fields: int) -> dict[Id, StoredRow]:
    """Return the rows that exist among `ids`, expired ones included."""
    base = first_key(collection)
    found: dict[Id, StoredRow] = {}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        marks = ",".join("?" * len(part))
        sql = f"select {_COLUMNS} from vicinal_row where collection = ? and id in ({marks})"  # noqa: S608
        for raw in session.connection.execute(sql, (collection, *part)):
            row = _stored(raw, n_fields, base)
            found[row.id] = row
    return found


def row_of_id(session: Session, collection: int, identity: Id) -> tuple[int, int | None] | None:
    """Return (row, expires) of one id, or None."""
    found = session.run("select key, expires from vicinal_row where collection = ? and id = ?", (collection, identity))
    if not found:
        return None
    return cast("int", found[0][0]) - first_key(collection), cast("int | None", found[0][1])


def by_numbers(
    session: Session,
    collection: int,
    rows: Sequence[int] | NDArray[np.int64],
    n_fields: int,
    *,
    slots_only: bool = False,
) -> list[StoredRow]:
    """Return rows by number, in the order asked for; numbers that do not exist are left out.

    With `slots_only`, metadata and documents are not read.
    """
    base = first_key(collection)
    columns = "key, id, slots, expires, null, null" if slots_only else _COLUMNS
    keys = np.asarray(rows, np.int64) + base
    if not len(keys):
        return []
    one = f"select {columns} from vicinal_row where key "  # noqa: S608
    if len(keys) <= _FEW:
        got = session.connection.execute(" union all ".join([one + "= ?"] * len(keys)), keys.tolist())
    else:
        got = session.connection.execute(one + "in carray(?)", (apsw.carray(np.unique(keys)),))
    found = {raw[0]: raw for raw in got}
    return [_stored(found[key], n_fields, base) for key in keys.tolist() if key in found]


def ids_of(session: Session, collection: int, numbers: NDArray[np.int64]) -> list[Id]:
    """Return the ids of existing rows by number, in the order given. Cost: one pass for all, 1 µs per row."""
    if not len(numbers):
        return []
    keys = numbers + first_key(collection)
    if len(keys) <= _FEW:
        each = ", ".join(["(select id from vicinal_row where key = ?)"] * len(keys))
        ids = session.run(f"select {each}", keys.tolist())[0]
    else:
        sql = "select key, id from vicinal_row where key in carray(?)"
        found = dict(session.connection.execute(sql, (apsw.carray(np.unique(keys)),)))
        ids = tuple(map(found.get, keys.tolist()))
    if None in ids:
        message = "a live slot names a row that does not exist; run: vicinal verify --repair"
        raise Corrupted(message)
    return cast("list[Id]", list(ids))


def scan(session: Session, collection: int, n_fields: int, *, after: int = -1, limit: int = -1) -> Iterator[StoredRow]:
    """Yield rows in the order of their numbers, beginning after one."""
    base = first_key(collection)
    sql = f"select {_COLUMNS} from vicinal_row where key > ? and key <= ? order by key limit ?"  # noqa: S608
    for raw in session.connection.execute(sql, (base + after, last_key(collection), limit)):
        yield _stored(raw, n_fields, base)


def numbers(session: Session, collection: int, low: int = 0, high: int | None = None) -> NDArray[np.int64]:
    """Return the numbers of existing rows in [low, high), ascending. Cost: 0.05 µs per row without holes."""
    base = first_key(collection)
    keys = (base + low, last_key(collection) if high is None else base + high - 1)
    first, last, n = _extent(session, keys)
    if n == last - first + 1:  # no holes: to count rows is a quarter of the work of grouping them
        return np.arange(first - base, last + 1 - base, dtype=np.int64)
    groups = session.connection.execute(
        f"select min(key), max(key), count(*) from vicinal_row where key between ? and ? group by key / {BLOCK_ROWS}",  # noqa: S608
        keys,
    ).fetchall()
    parts = []
    for first, last, n in cast("list[tuple[int, int, int]]", groups):
        if last - first + 1 == n:  # no holes: the usual case
            parts.append(np.arange(first, last + 1, dtype=np.int64))
        else:
            found = session.connection.execute("select key from vicinal_row where key between ? and ?", (first, last))
            keys_found = np.fromiter((cast("int", row[0]) for row in found), np.int64)
            if len(keys_found) != n or (np.diff(keys_found) <= 0).any():
                message = "the table of rows is damaged: its order does not hold; run: vicinal verify"
                raise Corrupted(message)
            parts.append(keys_found)
    return np.concatenate(parts) - base if parts else np.empty(0, np.int64)


def _extent(session: Session, keys: tuple[int, int]) -> tuple[int, int, int]:
    """Return the smallest and the largest key in a range, and how many there are; (0, -1, 0) for none."""
    sql = (
        "select (select min(key) from vicinal_row where key between ?1 and ?2),"
        " (select max(key) from vicinal_row where key between ?1 and ?2),"
        " (select count(*) from vicinal_row where key between ?1 and ?2)"
    )
    first, last, n = cast("tuple[int | None, int | None, int]", session.run(sql, keys)[0])
    return (0, -1, 0) if first is None or last is None else (first, last, n)


def joined_ids(session: Session, collection: int, low: int, high: int, separator: str) -> tuple[str, str]:
    """Return the ids of rows `low` to `high` in order of number as one text, and the length of each in bytes.

    Lengths stand with commas between. Cost: 0.2 µs per row.
    """
    base = first_key(collection)
    found = session.run(
        "select group_concat(id, ?), group_concat(octet_length(id), ',')"
        " from (select id from vicinal_row where key between ? and ? order by key)",
        (separator, base + low, base + high),
    )
    return cast("tuple[str, str]", found[0])


def count(session: Session, collection: int) -> int:
    """Return the number of rows, expired ones included."""
    return _extent(session, (first_key(collection), last_key(collection)))[2]


def count_expired(session: Session, collection: int, now: int) -> int:
    """Return how many stored rows have expired at `now`."""
    sql = "select count(*) from vicinal_row where collection = ? and expires is not null and expires <= ?"
    return cast("int", session.run(sql, (collection, now))[0][0])


def expired(session: Session, collection: int, now: int, limit: int = -1) -> NDArray[np.int64]:
    """Return the numbers of rows that have expired at `now`."""
    found = session.run(
        "select key from vicinal_row where collection = ? and expires is not null and expires <= ? limit ?",
        (collection, now, limit),
    )
    return np.fromiter((cast("int", row[0]) for row in found), np.int64, len(found)) - first_key(collection)


def next_expiry(session: Session, collection: int) -> int | None:
    """Return the earliest expiry of any row, or None."""
    sql = "select min(expires) from vicinal_row where collection = ? and expires is not null"
    return cast("int | None", session.run(sql, (collection,))[0][0])


def delete(session: Session, collection: int, numbers: Iterable[int]) -> None:
    """Delete rows by number."""
    base = first_key(collection)
    session.connection.executemany("delete from vicinal_row where key = ?", ((base + int(row),) for row in numbers))


def set_slots(session: Session, collection: int, rows: Iterable[tuple[int, bytes]]) -> None:
    """Store new slots of rows."""
    base = first_key(collection)
    session.connection.executemany(
        "update vicinal_row set slots = ?2 where key = ?1", ((base + row, slots) for row, slots in rows)
    )


def largest_id(session: Session, collection: int) -> int:
    """Return the largest int id, 0 where there is none or all are negative."""
    largest = session.run("select max(id) from vicinal_row where collection = ?", (collection,))[0][0]
    return max(0, largest) if isinstance(largest, int) else 0


def set_expiry(session: Session, collection: int, numbers: NDArray[np.int64], expires: int | None) -> None:
    """Store one expiry for rows by number."""
    keys = np.ascontiguousarray(numbers, np.int64) + first_key(collection)
    session.run("update vicinal_row set expires = ? where key in carray(?)", (expires, apsw.carray(keys)))


def patch(
    session: Session, collection: int, numbers: NDArray[np.int64], *, patch: str | None, unset: Sequence[str]
) -> None:
    """Set the top-level keys of `patch` (a JSON object), and remove those of `unset`, in rows by number."""
    keys = np.ascontiguousarray(numbers, np.int64) + first_key(collection)
    changes: list[tuple[str, tuple[str, ...]]] = [
        ("json_set({}, ?, json(?))", (json_path((name,)), json.dumps(value, ensure_ascii=False, separators=(",", ":"))))
        for name, value in (json.loads(patch) if patch else {}).items()
    ]
    changes += [("json_remove({}, ?)", (json_path((name,)),)) for name in unset]
    for start in range(0, len(changes), _PATCHED_AT_ONCE):
        expression = "coalesce(metadata, '{}')"
        values: list[str] = []
        for form, bound in changes[start : start + _PATCHED_AT_ONCE]:
            expression = form.format(expression)
            values += bound
        session.run(
            f"update vicinal_row set metadata = nullif({expression}, '{{}}') where key in carray(?)",  # noqa: S608
            (*values, apsw.carray(keys)),
        )


def json_path(path: Sequence[str]) -> str:
    """Return the SQLite JSON path of nested keys, each quoted."""
    return "$" + "".join(f".{json.dumps(key, ensure_ascii=False)}" for key in path)


def touch(session: Session, collection: int, numbers: NDArray[np.int64], version: int) -> None:
    """Record that the blocks of these rows changed at `version`."""
    base = first_key(collection)
    blocks = np.unique(np.asarray(numbers, np.int64) // BLOCK_ROWS).tolist()
    session.connection.executemany(
        "insert into vicinal_block(key, collection, version) values (?1, ?2, ?3) "
        "on conflict(key) do update set version = ?3",
        ((base + block, collection, version) for block in blocks),
    )


def changed_blocks(session: Session, collection: int, since: int) -> list[int]:
    """Return the numbers of blocks that changed after version `since`, ascending."""
    base = first_key(collection)
    found = session.run("select key from vicinal_block where collection = ? and version > ?", (collection, since))
    return sorted(cast("int", row[0]) - base for row in found)


def field_texts(
    session: Session, collection: int, low: int, high: int, path: Sequence[str], at_once: int
) -> Iterator[str]:
    """Yield JSON arrays with one metadata field of the existing rows numbered [low, high), in order.

    Rows without the field give the object {"$":0}, which no metadata can hold.
    """
    base, where = first_key(collection), json_path(path)
    sql = "select group_concat(coalesce(metadata -> ?, '{\"$\":0}'), ',') from vicinal_row where key between ? and ?"
    for first in range(low, high, at_once):  # read in the order of keys: no index holds what is asked for
        text = session.connection.execute(sql, (where, base + first, base + min(high, first + at_once) - 1)).get
        if text is not None:
            yield f"[{text}]"
