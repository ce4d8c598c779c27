"""A field as it is now: what a step that computed without a lock compares with what it started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vicinal.indexing import IndexChoice
from vicinal.storage import catalog

if TYPE_CHECKING:
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.session import Session

_USUAL: Final = IndexChoice()
_INDEX: Final = "index"
"""Where a collection's record keeps the choices of its fields."""


def current(
    session: Session, record: CollectionRecord, entry: FieldRecord
) -> tuple[CollectionRecord, FieldRecord] | None:
    """Return the collection and the field as they are now; None where they are gone."""
    found = catalog.find(session, record.name)
    if found is None or found.id != record.id:
        return None
    return next(((found, each) for each in found.fields if each.id == entry.id), None)


def save(session: Session, record: CollectionRecord, entry: FieldRecord) -> None:
    """Store a changed field of a collection."""
    fields = tuple(entry if each.id == entry.id else each for each in record.fields)
    catalog.save(session, replace(record, fields=fields))


def choice_of(record: CollectionRecord, entry: FieldRecord) -> IndexChoice:
    """Return the kind of index chosen for a field."""
    chosen = record.extra.get(_INDEX)
    return IndexChoice.stored(chosen.get(entry.name)) if isinstance(chosen, Mapping) else _USUAL


def with_choice(record: CollectionRecord, entry: FieldRecord, choice: IndexChoice) -> CollectionRecord:
    """Return the record with another choice for a field."""
    known = record.extra.get(_INDEX)
    chosen = {**(known if isinstance(known, Mapping) else {}), entry.name: choice.to_dict()}
    return replace(record, extra={**record.extra, _INDEX: chosen})
