"""Between what callers ask for and what the catalog stores: specifications, names, fields."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from vicinal.backend import CollectionInfo, FieldSpec
from vicinal.engine.fields import choice_of
from vicinal.errors import InvalidInput, shorten
from vicinal.storage.catalog import CollectionRecord, FieldRecord

if TYPE_CHECKING:
    from vicinal.backend import CollectionSpec


def not_found(name: str, known: list[str]) -> str:
    """Return what to say of a collection that does not exist."""
    if not known:
        how = "create it with a spec, for example dim=384 or embedder='wordllama'"
        return f"no collection {shorten(name)}: the database is empty; {how}"
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"no collection {shorten(name)}; did you mean {close[0]!r}?"
    return f"no collection {shorten(name)}; there are: {', '.join(map(repr, known[:10]))}"


def info_of(record: CollectionRecord) -> CollectionInfo:
    """Return what callers may know of a stored collection."""
    return CollectionInfo(
        identity=record.id,
        name=record.name,
        fields=tuple(
            FieldSpec(name=entry.name, dim=entry.dim, dtype=entry.dtype, metric=entry.metric) for entry in record.fields
        ),
        embedder=record.embedder,
        quantize=record.quantize,
        version=record.version,
        id_type=record.id_type,
        indexes={entry.name: choice_of(record, entry) for entry in record.fields},
    )


def blank_record(spec: CollectionSpec) -> CollectionRecord:
    """Return the record of a collection to create; the catalog gives it its numbers."""
    return CollectionRecord(
        id=0,
        name=spec.name,
        version=0,
        stamp=0,
        next_row=1,
        fields=tuple(
            FieldRecord(
                id=0,
                name=entry.name,
                dim=entry.dim,
                dtype=entry.dtype,
                metric=entry.metric,
                next_slot=0,
                floor=0,
                ordinal=ordinal,
            )
            for ordinal, entry in enumerate(spec.fields)
        ),
        embedder=spec.embedder,
        quantize=spec.quantize,
    )


def field_of(record: CollectionRecord, using: str | None) -> FieldRecord:
    """Return the vector field to search. Raises InvalidInput naming those there are."""
    if using is None and len(record.fields) == 1:
        return record.fields[0]
    names = ", ".join(repr(entry.name) for entry in record.fields)
    if using is None:
        message = f"{record.name!r} has several vector fields; say which with using=: {names}"
        raise InvalidInput(message)
    found = record.field_named(using)
    if found is None:
        message = f"{record.name!r} has no vector field {shorten(using)}; there are: {names}"
        raise InvalidInput(message)
    return found
