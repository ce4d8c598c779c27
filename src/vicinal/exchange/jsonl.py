"""Reading JSON lines: one object per row, after the header of an export where there is one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, cast

import numpy as np

from vicinal.errors import InvalidInput, shorten
from vicinal.exchange.batch import ONLY
from vicinal.exchange.columns import METADATA, Columns, Roles
from vicinal.exchange.gather import Gathering, OneRow
from vicinal.exchange.lines import Line, read_lines
from vicinal.exchange.spec import KEY, Spec
from vicinal.values import from_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vicinal.exchange.batch import Batch

__all__ = ["EXPIRES", "VECTORS", "JsonLines"]

VECTORS = "vectors"
EXPIRES = "expires"
MAX_SHAPES = 1000


class JsonLines:
    """A `.jsonl` or `.ndjson` file, possibly gzip."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self.columns = columns
        self.spec = self._header()
        self._roles: dict[tuple[str, ...], Roles] = {}

    def _header(self) -> Spec | None:
        first = next((line for line in read_lines(self.path) if not line.text.isspace()), None)
        value = self._parse(first) if first else {}
        if set(value) != {KEY} or not isinstance(value[KEY], dict):
            return None
        return Spec.from_dict(value[KEY], f"{self.path.name}, line 1")

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows, at most `size` at a time. Raises InvalidInput naming a line that is not one."""
        gathering = Gathering(size, self.path.name, "line")
        header = self.spec is not None
        strict = True
        for line in read_lines(self.path):
            if line.text.isspace():
                continue
            if header:
                header = False
                continue
            gathering.add(self._row(line, strict=strict), line.n_bytes)
            strict = False
            if gathering.full:
                yield gathering.take(line.done)
        if len(gathering):
            yield gathering.take(1.0)

    def _parse(self, line: Line) -> dict[str, object]:
        where = f"{self.path.name}, line {line.number}"

        def refuse(constant: str) -> NoReturn:
            message = f"{where}: {constant} is no JSON value; leave a missing value out, or write null"
            raise InvalidInput(message)

        hook = _dates if '"$date"' in line.text else None
        try:
            value = json.loads(line.text, object_hook=hook, parse_constant=refuse)
        except json.JSONDecodeError as error:
            message = f"{where}: not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}"
            raise InvalidInput(message) from None
        except (RecursionError, OverflowError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            message = f"{where}: not JSON that can be read: {error}"
            raise InvalidInput(message) from None
        if not isinstance(value, dict):
            message = f'{where}: a row is an object such as {{"id": 1, "text": "…"}}, not {shorten(value)}'
            raise InvalidInput(message)
        return cast("dict[str, object]", value)

    def _row(self, line: Line, *, strict: bool) -> OneRow:
        where = f"{self.path.name}, line {line.number}"
        values = self._parse(line)
        if self.spec is not None:
            return self._exported(values, line.number, where)
        roles = self._roles_of(tuple(values), where, strict=strict)
        vectors = {ONLY: values[roles.vector]} if roles.vector and values.get(roles.vector) is not None else {}
        if isinstance(named := values.get(VECTORS), dict) and not vectors:
            values[VECTORS] = None
            vectors = {name: vector for name, vector in named.items() if vector is not None}
        return OneRow(
            number=line.number,
            id=values.get(roles.id) if roles.id else None,
            document=roles.document(values, where),
            metadata=roles.properties(values),
            vectors=vectors,
        )

    def _roles_of(self, names: tuple[str, ...], where: str, *, strict: bool) -> Roles:
        roles = self._roles.get(names)
        if roles is None or strict:
            roles = self.columns.roles(names, where, strict=strict)
            if len(self._roles) < MAX_SHAPES:
                self._roles[names] = roles
        return roles

    def _exported(self, values: dict[str, object], number: int, where: str) -> OneRow:
        """Return a row of our own export: its keys are fixed, and nothing is guessed."""
        document, metadata = values.get("document"), values.get(METADATA, {})
        vectors, expires = values.get(VECTORS, {}), values.get(EXPIRES)
        known = {"id", "document", METADATA, VECTORS, EXPIRES}
        if (
            not known.issuperset(values)
            or not isinstance(document, str | None)
            or not isinstance(metadata, dict)
            or not isinstance(vectors, dict)
            or not isinstance(expires, datetime | None)
        ):
            message = f"{where}: not a row of an export: {shorten(values)}"
            raise InvalidInput(message)
        return OneRow(
            number=number,
            id=values.get("id"),
            document=document,
            metadata=metadata,
            vectors={name: self._vector(name, value, where) for name, value in vectors.items()},
            expires=expires,
        )

    def _vector(self, name: str, value: object, where: str) -> object:
        """Return a vector as stored; bits are written as hexadecimal text."""
        entry = self.spec.fields.get(name) if self.spec else None
        if entry is None or entry.dtype != "bit":
            return value
        try:
            return np.frombuffer(bytes.fromhex(cast("str", value)), np.uint8)
        except (TypeError, ValueError) as error:
            message = f"{where}: the bits of {name!r} are hexadecimal text, not {shorten(value)}"
            raise InvalidInput(message) from error


def _dates(found: dict[str, object]) -> object:
    if len(found) == 1 and type(moment := found.get("$date")) is int:
        try:
            return from_microseconds(moment)
        except OverflowError as error:
            last = datetime.max.replace(tzinfo=UTC)
            message = f"{moment} microseconds lie outside of the years 1 to {last.year}"
            raise ValueError(message) from error
    return found
