"""What a database should hold and answer, in dicts and NumPy alone: the law the engine is held to.

It shares no code with the engine, but for the row-by-row meaning of a filter (`vicinal.filters.matches`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.filters import matches

from .actors import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vicinal.filters import Node

Id = int | str
Answer = Any
METRICS = {"f32": ("cosine", "l2", "dot", "l1"), "f16": ("cosine", "l2", "dot", "l1")}
METRICS |= {"i8": METRICS["f32"], "bit": ("hamming",)}
PAIRS = [(dtype, metric) for dtype, metrics in METRICS.items() for metric in metrics]
_STORED = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "bit": np.uint8}


class Refused(Exception):
    """The class of the error that the call must raise; nothing may have changed."""


@dataclass(frozen=True)
class Row:
    number: int
    vectors: dict[str, np.ndarray]
    document: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    expires: int | None = None


@dataclass
class Table:
    """A collection. Expired rows stay until maintenance: their place in the order is taken."""

    fields: dict[str, tuple[int, str, str]]
    rows: dict[Id, Row] = field(default_factory=dict)
    id_type: type | None = None
    next_row: int = 1

    def live(self, now: int) -> list[tuple[Id, Row]]:
        found = [(key, row) for key, row in self.rows.items() if row.expires is None or row.expires > now]
        return sorted(found, key=lambda pair: pair[1].number)

    def passing(self, now: int, where: Node | None) -> list[tuple[Id, Row]]:
        return [(key, row) for key, row in self.live(now) if where is None or matches(where, row.metadata)]

    def has(self, identity: Id, now: int) -> bool:
        row = self.rows.get(identity)
        return row is not None and (row.expires is None or row.expires > now)


def distances(query: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """Return float64 distances by their definition; `vectors` are rows in storage layout."""
    if metric == "hamming":
        return np.unpackbits(vectors ^ query, axis=1).sum(axis=1).astype(np.float64)
    x, q = vectors.astype(np.float64), query.astype(np.float64)
    match metric:
        case "l2":
            return np.sqrt(((x - q) ** 2).sum(axis=1))
        case "l1":
            return np.abs(x - q).sum(axis=1)
        case "dot":
            return 0.0 - x @ q
    return 1.0 - (x @ q) / (np.sqrt((x * x).sum(axis=1)) * np.sqrt(q @ q))


def order_key(metadata: dict[str, Any], path: Sequence[str]) -> tuple[int, Any] | None:
    """Return the place of a row's field in the total order, None for missing and null."""
    value: Any = metadata
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    match value:
        case None:
            return None
        case bool():
            return (0, value)
        case int() | float():
            return (1, value)
        case datetime():
            return (2, value)
        case str():
            return (3, value)
    return (4, 0)


def ordered(rows: list[tuple[Id, Row]], order_by: Iterable[str]) -> list[tuple[Id, Row]]:
    """Sort rows by fields, the first one the most significant; rows without a field come last."""
    for name in reversed(list(order_by)):
        path = name.removeprefix("-").split(".")
        keyed = [(order_key(pair[1].metadata, path), pair) for pair in rows]
        having = [entry for entry in keyed if entry[0] is not None]
        groups: dict[Any, list[tuple[Id, Row]]] = {}
        for key, pair in having:
            groups.setdefault(key, []).append(pair)
        keys = sorted(groups, reverse=name.startswith("-"))
        rows = [pair for key in keys for pair in groups[key]] + [pair for key, pair in keyed if key is None]
    return rows


class State:
    """All collections at one moment; `copy` is cheap, rows are never changed in place."""

    def __init__(self, tables: dict[str, Table] | None = None) -> None:
        self.tables = tables or {}

    def copy(self) -> State:
        return State({name: replace(table, rows=dict(table.rows)) for name, table in self.tables.items()})

    def apply(self, verb: str, name: str, given: dict[str, Any], now: int) -> Answer:
        """Return what the call must return; raise Refused where it must fail."""
        if verb not in ("create", "sweep") and name not in self.tables:
            raise Refused("NotFound")
        return getattr(self, verb)(name, now=now, **given)

    # --- collections

    def create(self, name: str, *, fields: dict[str, tuple[int, str, str]], now: int) -> None:
        if name not in self.tables:
            self.tables[name] = Table(fields)
        elif self.tables[name].fields != fields:
            raise Refused("SpecMismatch")

    def drop(self, name: str, *, now: int) -> None:
        del self.tables[name]

    def rename(self, name: str, *, new_name: str, now: int) -> None:
        if new_name in self.tables:
            raise Refused("AlreadyExists")
        self.tables[new_name] = self.tables.pop(name)

    def sweep(self, name: str, *, now: int) -> None:
        """Maintenance: expired rows go for good."""
        for table in self.tables.values():
            table.rows = dict(table.live(now))

    # --- writing

    def _rows(self, table: Table, n: int, given: dict[str, Any], now: int) -> list[Row]:
        made = []
        for at in range(n):
            vectors = {
                name: np.asarray(column[at], _STORED[table.fields[name][1]])
                for name, column in given["vectors"].items()
                if column[at] is not None
            }
            document = given["documents"][at] if given.get("documents") else None
            metadata = given["metadata"][at] if given.get("metadata") else {}
            ttl = given.get("ttl")
            expires = None if ttl is None else now + ttl * 1_000_000
            made.append(Row(0, vectors, document, metadata or {}, expires))
        return made

    def _ids(self, table: Table, given: dict[str, Any], n: int) -> list[Id]:
        ids = given.get("ids")
        kind = type(ids[0]) if ids else table.id_type or int
        if table.id_type not in (None, kind):
            raise Refused("InvalidId")
        if ids is None and kind is str:
            ids = given["generated"]
        if ids is None:
            first = max([0, *table.rows]) + 1
            ids = list(range(first, first + n))
        return ids

    def _put(self, table: Table, ids: list[Id], made: list[Row], *, keep: bool) -> None:
        table.id_type = type(ids[0])
        for identity, row in zip(ids, made, strict=True):
            old = table.rows.get(identity) if keep else None
            table.rows[identity] = replace(row, number=old.number if old else table.next_row)
            table.next_row += old is None

    def add(self, name: str, *, now: int, n: int, **given: Any) -> list[Id]:
        table = self.tables[name]
        ids = self._ids(table, given, n)
        if any(table.has(identity, now) for identity in ids):
            raise Refused("AlreadyExists")
        self._put(table, ids, self._rows(table, n, given, now), keep=False)
        return ids

    def upsert(self, name: str, *, now: int, n: int, **given: Any) -> list[Id]:
        table = self.tables[name]
        ids = self._ids(table, given, n)
        self._put(table, ids, self._rows(table, n, given, now), keep=True)
        return ids

    def update(self, name: str, *, now: int, ids: list[Id], unset: Sequence[str], **given: Any) -> int:
        table = self.tables[name]
        if not all(table.has(identity, now) for identity in ids):
            raise Refused("NotFound")
        for identity, new in zip(ids, self._rows(table, len(ids), given, now), strict=True):
            old = table.rows[identity]
            table.rows[identity] = Row(
                old.number,
                {**old.vectors, **new.vectors},
                new.document if given.get("documents") else old.document,
                {key: value for key, value in {**old.metadata, **new.metadata}.items() if key not in unset},
                old.expires if given.get("ttl") is None else new.expires,
            )
        return len(ids)

    def patch(
        self,
        name: str,
        *,
        now: int,
        where: Node,
        metadata: dict[str, Any],
        unset: Sequence[str],
        ttl: int | None,
    ) -> int:
        table = self.tables[name]
        found = table.passing(now, where)
        for identity, old in found:
            merged = {key: value for key, value in {**old.metadata, **metadata}.items() if key not in unset}
            expires = old.expires if ttl is None else now + ttl * 1_000_000
            table.rows[identity] = replace(old, metadata=merged, expires=expires)
        return len(found)

    def delete(self, name: str, *, now: int, ids: list[Id] | None, where: Node | None) -> int:
        table = self.tables[name]
        found = [key for key, _ in table.passing(now, where) if ids is None or key in ids]
        expired = [] if ids is None or where is not None else ids  # by id alone, these go for good
        for identity in {*found, *expired}:
            table.rows.pop(identity, None)
        return len(found)

    # --- reading

    def get(
        self,
        name: str,
        *,
        now: int,
        ids: list[Id] | None,
        where: Node | None,
        order_by: list[str],
        limit: int | None,
        offset: int,
    ) -> Answer:
        found = self.tables[name].passing(now, where)
        if ids is not None:
            passing = dict(found)
            found = [(identity, passing[identity]) for identity in ids if identity in passing]
        if order_by:  # ties stay in the order of rows
            found = ordered(sorted(found, key=lambda pair: pair[1].number), order_by)
        end = None if limit is None else offset + limit
        return [answer(identity, row) for identity, row in found[offset:end]]

    def count(self, name: str, *, now: int, where: Node | None) -> int:
        return len(self.tables[name].passing(now, where))

    def contains(self, name: str, *, now: int, identity: Id) -> bool:
        return self.tables[name].has(identity, now)

    def search(self, name: str, *, now: int, using: str, query: np.ndarray, k: int, where: Node | None) -> Answer:
        """Return (id, distance) of every row that may be found, best first, and k."""
        table = self.tables[name]
        found = [(key, row.vectors[using]) for key, row in table.passing(now, where) if using in row.vectors]
        if not found:
            return k, []
        values = distances(query, np.stack([vector for _, vector in found]), table.fields[using][2])
        return k, sorted(zip(values.tolist(), [key for key, _ in found], strict=True))

    def search_batch(self, name: str, *, now: int, queries: np.ndarray, **given: Any) -> Answer:
        return [self.search(name, now=now, query=query, **given) for query in queries]


def answer(identity: Id, row: Row) -> tuple[Any, ...]:
    """Return a row as the actors report it."""
    vectors = {name: vector.tobytes() for name, vector in sorted(row.vectors.items())}
    return identity, row.document, canonical(row.metadata), vectors


def nearest(expected: tuple[int, list[tuple[float, Id]]], metric: str, found: list[tuple[float, Id]]) -> bool:
    """Return whether `found` is a right answer: exact, up to the rounding of cosines."""
    k, every = expected
    if len(found) != min(k, len(every)):
        return False
    if metric != "cosine":
        exact = [(float(np.float32(distance)), identity) for distance, identity in every]
        return found == sorted(exact)[:k]
    margin = 1e-6
    known = {identity: distance for distance, identity in every}
    right = all(identity in known and abs(known[identity] - distance) <= margin for distance, identity in found)
    chosen = {identity for _, identity in found}
    cut = found[-1][0] if found else 0.0
    missed = any(distance < cut - margin for distance, identity in every if identity not in chosen)
    return right and len(chosen) == len(found) and found == sorted(found) and not missed
