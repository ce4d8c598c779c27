"""Which columns of a file are the id, the text, the vector and metadata.

======  ==============================================
id      `id`, `_id`
text    `document`, `text`, `body`, `content`
vector  `vector`, `embedding`, `emb`
======  ==============================================

The first of these names that a file has is taken. A column `metadata` that holds objects is merged into
the row's metadata; every other column is metadata under its own name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from vicinal.errors import InvalidInput, shorten

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ID_NAMES", "METADATA", "TEXT_NAMES", "VECTOR_NAMES", "Columns", "Roles"]

ID_NAMES: Final = ("id", "_id")
TEXT_NAMES: Final = ("document", "text", "body", "content")
VECTOR_NAMES: Final = ("vector", "embedding", "emb")
METADATA: Final = "metadata"
MAX_NAMES_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What each column of one row, or of one table, is."""

    id: str | None
    text: tuple[str, ...]
    vector: str | None
    metadata: tuple[str, ...]

    def document(self, values: Mapping[str, object], where: str) -> str | None:
        """Return the row's text: several columns as paragraphs, None where all are blank."""
        parts: list[str] = []
        for name in self.text:
            value = values.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                message = f"{where}: {shorten(name)} is the text and holds {shorten(value)}"
                raise InvalidInput(message)
            if value and not value.isspace():
                parts.append(value)
        return "\n".join(parts) or None

    def properties(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return the row's metadata, without what is missing."""
        found: dict[str, object] = {}
        for name in self.metadata:
            value = values.get(name)
            if name == METADATA and (nested := as_object(value)) is not None:
                found = {**nested, **found}
            elif value is not None:
                found[name] = value
        return found


def as_object(value: object) -> dict[str, object] | None:
    """Return an object, or text that holds one as JSON, as a dict; None for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return cast("dict[str, object]", found) if isinstance(found, dict) else None
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What the caller says about columns; what is left out goes by the conventional names.

    text: one column, or several to join as paragraphs. metadata: the columns to keep, instead of all.
    """

    id: str | None = None
    text: tuple[str, ...] = ()
    vector: str | None = None
    metadata: tuple[str, ...] | None = None

    def roles(self, names: Collection[str], where: str = "", *, strict: bool = True) -> Roles:
        """Return the roles of `names`; with `strict`, refuse named columns that do not exist."""
        if strict:
            for name in (self.id, *self.text, self.vector, *(self.metadata or ())):
                if name is not None and name not in names:
                    raise InvalidInput(_no_column(name, names, where))
        identity = self.id or _first(ID_NAMES, names)
        vector = self.vector or _first(VECTOR_NAMES, names)
        document = _first(TEXT_NAMES, names)
        text = self.text or ((document,) if document else ())
        taken = {identity, vector, *text}
        rest = tuple(name for name in names if name not in taken)
        return Roles(id=identity, text=text, vector=vector, metadata=rest if self.metadata is None else self.metadata)


def _first(wanted: tuple[str, ...], names: Collection[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _no_column(name: str, names: Collection[str], where: str) -> str:
    shown = ", ".join(list(names)[:MAX_NAMES_SHOWN]) + (", …" if len(names) > MAX_NAMES_SHOWN else "")
    close = difflib.get_close_matches(name, list(names), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{where}: no column {shorten(name)}; there are: {shown}{hint}"
