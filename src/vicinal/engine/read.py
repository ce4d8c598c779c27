"""Reading rows: by id, by filter, in order, and what hits carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vicinal.results import Rows
from vicinal.storage import rows
from vicinal.storage.chunks import Reader
from vicinal.storage.rows import NO_SLOT, StoredRow
from vicinal.values import decode_metadata, from_microseconds
from vicinal.vectors import spec_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from vicinal.engine.view import View
    from vicinal.filters import Node
    from vicinal.request import GetRequest, Include
    from vicinal.results import Metadata
    from vicinal.storage.catalog import FieldRecord
    from vicinal.values import Id
    from vicinal.vectors import VectorSpec


def spec_of(entry: FieldRecord) -> VectorSpec | None:
    """Return the field's vector type, or None while its dimension is not known."""
    if entry.dim is None:
        return None
    return spec_for(entry.dim, entry.dtype, entry.metric)


def get(view: View, request: GetRequest) -> Rows:
    """Return rows. By id: in the order asked for, without those that do not exist."""
    n_fields = len(view.record.fields)
    if request.ids is not None:
        found = rows.by_ids(view.session, view.record.id, request.ids, n_fields)
        stored = [found[identity] for identity in request.ids if identity in found]
        stored = [row for row in stored if row.expires is None or row.expires > view.now]
        if request.where is not None:
            passing = set(view.passing_numbers(request.where).tolist())
            stored = [row for row in stored if row.row in passing]
        if request.order_by:
            rank = {row: at for at, row in enumerate(_ordered(view, request, None).tolist())}
            stored.sort(key=lambda row: rank[row.row])
        end = None if request.limit is None else request.offset + request.limit
        return as_rows(view, stored[request.offset : end], request.include)
    if request.where is None and not request.order_by and not request.offset:
        return as_rows(view, list(_first(view, request.limit)), request.include)
    end = None if request.limit is None else request.offset + request.limit
    numbers = _ordered(view, request, end)[request.offset : end]
    return as_rows(view, rows.by_numbers(view.session, view.record.id, numbers, n_fields), request.include)


def _first(view: View, limit: int | None) -> Iterator[StoredRow]:
    """Yield the first rows by number without loading the map of all rows."""
    left = limit if limit is not None else -1
    if left == 0:
        return
    for row in rows.scan(view.session, view.record.id, len(view.record.fields)):
        if row.expires is None or row.expires > view.now:
            yield row
            left -= 1
            if left == 0:
                return


def _ordered(view: View, request: GetRequest, end: int | None) -> NDArray[np.int64]:
    """Return the numbers of the rows that pass, in the order asked for, at least the first `end`."""
    mask = view.passing(request.where)
    if not request.order_by:
        return view.rows().numbers.view[np.flatnonzero(mask)[:end]]
    keys = [_sort_keys(view, path, descending=descending) for path, descending in reversed(request.order_by)]
    order = np.lexsort(keys)  # the last key is the most significant; ties stay in the order of rows
    return view.rows().numbers.view[order[mask[order]]][:end]


def _sort_keys(view: View, path: tuple[str, ...], *, descending: bool) -> NDArray[np.int64]:
    keys = view.column(path).sort_keys()
    last = np.iinfo(np.int64).max
    return np.where(keys < 0, last, -keys if descending else keys)  # rows without the field come last


def count(view: View, where: Node | None) -> int:
    """Return how many rows pass."""
    if where is None:
        expired = rows.count_expired(view.session, view.record.id, view.now)
        return rows.count(view.session, view.record.id) - expired
    return int(np.count_nonzero(view.passing(where)))


def exists(view: View, identity: Id) -> bool:
    """Return whether a row of that id exists and has not expired."""
    found = rows.row_of_id(view.session, view.record.id, identity)
    return found is not None and (found[1] is None or found[1] > view.now)


def page(view: View, after: int, limit: int, where: Node | None, include: Sequence[Include]) -> tuple[Rows, int] | None:
    """Return up to `limit` passing rows behind row number `after`, and the number of the last one read.

    None at the end.
    """
    n_fields = len(view.record.fields)
    if where is None:
        found = list(rows.scan(view.session, view.record.id, n_fields, after=after, limit=limit))
    else:
        numbers = view.passing_numbers(where)
        numbers = numbers[np.searchsorted(numbers, after, side="right") :][:limit]
        found = rows.by_numbers(view.session, view.record.id, numbers, n_fields)
    if not found:
        return None
    live = [row for row in found if row.expires is None or row.expires > view.now]
    return as_rows(view, live, include), found[-1].row


def sample(view: View, entry: FieldRecord, n: int) -> tuple[list[Id], NDArray[np.generic]]:
    """Return ids and vectors (up to n, width) of rows chosen at random; the same while rows are the same."""
    spec, slot_map = spec_of(entry), view.slots(entry)
    mask = view.passing_slots(entry, None)
    positions = np.arange(len(slot_map)) if mask is None else np.flatnonzero(mask)
    if spec is None or not len(positions):
        return [], np.empty((0, 1), np.float32)
    chosen = np.random.default_rng(len(positions)).choice(positions, min(n, len(positions)), replace=False)
    with Reader(view.session, entry.id, spec) as reader:
        vectors = reader.at(slot_map.slots.view[chosen])
    return rows.ids_of(view.session, view.record.id, slot_map.rows.view[chosen]), vectors


def as_rows(view: View, stored: Sequence[StoredRow], include: Sequence[Include]) -> Rows:
    """Return stored rows as results."""
    return Rows(
        ids=[row.id for row in stored],
        documents=[row.document for row in stored] if "document" in include else None,
        metadata=metadata_of(stored) if "metadata" in include else None,
        vectors=vectors_of(view, stored) if "vector" in include else None,
        expires=expiries_of(stored) if "expires" in include else None,
    )


def metadata_of(stored: Sequence[StoredRow]) -> list[Metadata]:
    """Return the metadata of rows as Python values."""
    return [decode_metadata(row.metadata) for row in stored]


def expiries_of(stored: Sequence[StoredRow]) -> list[datetime | None]:
    """Return when rows expire."""
    return [None if row.expires is None else from_microseconds(row.expires) for row in stored]


def vectors_of(view: View, stored: Sequence[StoredRow]) -> list[dict[str, NDArray[np.generic]]]:
    """Return the vectors of rows by field name, in storage type; fields without one are left out."""
    found: list[dict[str, NDArray[np.generic]]] = [{} for _ in stored]
    for entry in view.record.fields:
        spec = spec_of(entry)
        having = [at for at, row in enumerate(stored) if row.slots[entry.ordinal] != NO_SLOT]
        if spec is None or not having:
            continue
        with Reader(view.session, entry.id, spec) as reader:
            vectors = reader.at([stored[at].slots[entry.ordinal] for at in having])
        for at, vector in zip(having, vectors, strict=True):
            found[at][entry.name] = vector
    return found
