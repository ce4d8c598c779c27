"""Collections and their vector fields: what exists, at which version."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, cast

from vicinal.storage.schema import first_key, last_key

if TYPE_CHECKING:
    from vicinal.storage.session import Session

IdType = Literal["int", "str"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRecord:
    """A vector field as stored. `dim` is None until the first vector is added."""

    id: int
    name: str
    dim: int | None
    dtype: str
    metric: str
    next_slot: int
    floor: int
    ordinal: int
    """Its place in a row's `slots`."""
    codebook: int | None = None
    covered: int = 0
    """Live slots below it have codes of `codebook`."""
    structure: int | None = None
    """The graph or the lists that searches use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """A collection as stored, at one version."""

    id: int
    name: str
    version: int
    stamp: int
    next_row: int
    fields: tuple[FieldRecord, ...]
    id_type: IdType | None = None
    embedder: str | None = None
    """Identity of the embedder whose vectors the collection holds."""
    quantize: str | None = None
    extra: dict[str, object] = field(default_factory=dict)

    def field_named(self, name: str) -> FieldRecord | None:
        """Return the vector field of that name."""
        return next((found for found in self.fields if found.name == name), None)


_SPEC = ("id_type", "embedder", "quantize")


def _spec_of(record: CollectionRecord) -> str:
    given = {name: getattr(record, name) for name in _SPEC if getattr(record, name) is not None}
    return json.dumps({**record.extra, **given}, ensure_ascii=False, separators=(",", ":"))


_SELECT = """
    select c.id, c.name, c.spec, c.version, c.stamp, c.next_row,
           f.id, f.name, f.dim, f.dtype, f.metric, f.next_slot, f.floor,
           f.codebook, f.covered, f.structure
    from vicinal_collection c left join vicinal_field f on f.collection = c.id
    where c.name = ? order by f.id"""


def find(session: Session, name: str) -> CollectionRecord | None:
    """Return the collection of that name, or None. Cost: one indexed query."""
    if not session.has_schema():
        return None
    stamp = session.glance("select stamp from vicinal_collection where name = ?", (name,))
    known = session.records.get(name)
    if isinstance(known, CollectionRecord) and known.stamp == stamp:  # equal stamps mean equal content
        return known
    found = _read(session, name) if stamp is not None else None
    session.records[name] = found
    return found


def stamp(session: Session, collection: int) -> int | None:
    """Return the stamp of a collection as this snapshot sees it: equal ones mean equal content."""
    found = session.run("select stamp from vicinal_collection where id = ?", (collection,))
    return cast("int", found[0][0]) if found else None


def _read(session: Session, name: str) -> CollectionRecord | None:
    rows = session.run(_SELECT, (name,))
    if not rows:
        return None
    identity, stored_name, spec, version, stamp, next_row = rows[0][:6]
    fields = tuple(
        FieldRecord(
            id=cast("int", row[6]),
            name=cast("str", row[7]),
            dim=cast("int | None", row[8]),
            dtype=cast("str", row[9]),
            metric=cast("str", row[10]),
            next_slot=cast("int", row[11]),
            floor=cast("int", row[12]),
            codebook=cast("int | None", row[13]),
            covered=cast("int", row[14]),
            structure=cast("int | None", row[15]),
            ordinal=ordinal,
        )
        for ordinal, row in enumerate(rows)
        if row[6] is not None
    )
    stored = json.loads(cast("str", spec))
    known = {key: stored.pop(key) for key in _SPEC if key in stored}
    return CollectionRecord(
        id=cast("int", identity),
        name=cast("str", stored_name),
        version=cast("int", version),
        stamp=cast("int", stamp),
        next_row=cast("int", next_row),
        fields=fields,
        extra=stored,
        **known,
    )


def names(session: Session) -> list[str]:
    """Return the names of all collections, sorted."""
    if not session.has_schema():
        return []
    return [cast("str", row[0]) for row in session.run("select name from vicinal_collection order by name")]


def create(session: Session, record: CollectionRecord) -> CollectionRecord:
    """Store a new collection and its fields; ids, version and stamp of `record` are ignored."""
    session.run(
        "insert into vicinal_collection(name, spec, version, stamp, next_row) values (?, ?, 1, ?, 1)",
        (record.name, _spec_of(record), _new_stamp()),
    )
    collection = session.connection.last_insert_rowid()
    for entry in record.fields:
        session.run(
            "insert into vicinal_field(collection, name, dim, dtype, metric, next_slot, floor) values (?,?,?,?,?,0,0)",
            (collection, entry.name, entry.dim, entry.dtype, entry.metric),
        )
    created = find(session, record.name)
    assert created is not None  # noqa: S101 - inserted above, in the same transaction
    return created


def save(session: Session, record: CollectionRecord) -> CollectionRecord:
    """Store a changed record under the next version and a new stamp; return it so.

    What the session derived from a history that `record` is not part of (rolled back, or before a
    commit of others) is dropped, because the new stamp would hide that.
    """
    if session.stamps.get(record.id) != record.stamp:
        session.private.pop(record.id, None)
    saved = replace(record, version=record.version + 1, stamp=_new_stamp())
    session.run(
        "update vicinal_collection set name=?, spec=?, version=?, stamp=?, next_row=? where id=?",
        (saved.name, _spec_of(saved), saved.version, saved.stamp, saved.next_row, saved.id),
    )
    for entry in saved.fields:
        session.run(
            "update vicinal_field set dim=?, next_slot=?, floor=?, codebook=?, covered=?, structure=? where id=?",
            (entry.dim, entry.next_slot, entry.floor, entry.codebook, entry.covered, entry.structure, entry.id),
        )
    session.stamps[saved.id] = saved.stamp
    session.records[saved.name] = saved
    return saved


def rename(session: Session, record: CollectionRecord, name: str) -> None:
    """Give a collection another name."""
    save(session, replace(record, name=name))


def forget(session: Session, record: CollectionRecord) -> None:
    """Remove a collection from the catalog; `orphans` finds its rows and vectors afterwards."""
    for entry in record.fields:
        session.run("delete from vicinal_codebook where field = ?", (entry.id,))
        session.run("delete from vicinal_structure where field = ?", (entry.id,))
    session.run("delete from vicinal_field where collection = ?", (record.id,))
    session.run("delete from vicinal_collection where id = ?", (record.id,))
    session.private.pop(record.id, None)
    session.stamps.pop(record.id, None)


_OWNERS: Final = (
    ("vicinal_vector", "vicinal_field"),
    ("vicinal_chunk", "vicinal_field"),
    ("vicinal_code", "vicinal_codebook"),
    ("vicinal_piece", "vicinal_structure"),
    ("vicinal_row", "vicinal_collection"),
    ("vicinal_block", "vicinal_collection"),
)


_LARGE: Final = frozenset({"vicinal_code", "vicinal_piece"})
_LARGE_AT_ONCE: Final = 16
"""Rows of up to a megabyte that go in one transaction."""


def has_orphans(session: Session) -> bool:
    """Return whether there are rows or chunks that no collection owns."""
    return any(_first_orphan(session, table, owners) is not None for table, owners in _OWNERS)


def delete_orphans(session: Session, limit: int) -> int:
    """Delete up to about `limit` rows and chunks that no collection owns; return how many went."""
    gone = 0
    for table, owners in _OWNERS:
        while gone < limit:
            owner = _first_orphan(session, table, owners)
            if owner is None:
                break
            session.run(
                f"delete from {table} where key in (select key from {table} where key between ? and ? limit ?)",  # noqa: S608
                (first_key(owner), last_key(owner), _LARGE_AT_ONCE if table in _LARGE else limit - gone),
            )
            gone += session.connection.changes()
            if table in _LARGE:
                return gone
    return gone


def _first_orphan(session: Session, table: str, owners: str) -> int | None:
    """Return the first owner that has keys in `table` and no entry in `owners`, skipping by owner."""
    known = sorted(cast("int", row[0]) for row in session.run(f"select id from {owners}"))  # noqa: S608
    low = 0
    for owner in [*known, None]:
        high = first_key(owner) if owner is not None else (1 << 63) - 1
        found = session.run(f"select key from {table} where key >= ? and key < ? limit 1", (low, high))  # noqa: S608
        if found:
            return cast("int", found[0][0]) >> 40
        low = last_key(owner) + 1 if owner is not None else high
    return None


def _new_stamp() -> int:
    return secrets.randbits(62)
