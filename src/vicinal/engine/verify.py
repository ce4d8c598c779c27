"""Verification: rows are the truth; everything beside them must agree, and can be rebuilt."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from vicinal.engine.read import spec_of
from vicinal.errors import Corrupted, shorten
from vicinal.report import Report
from vicinal.storage import audit, catalog, chunks, codes, rows
from vicinal.storage.chunks import Reader
from vicinal.storage.rows import NO_SLOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.rows import StoredRow
    from vicinal.storage.session import Session

_MOST_PROBLEMS: Final = 100


class _Findings:
    """Problems, cut after a hundred, and counts of what was looked at."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.problems: list[str] = []
        self.checked = {"collections": 0, "rows": 0, "vectors": 0}
        self._progress = progress
        self._total = total

    def add(self, problem: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)
        elif len(self.problems) == _MOST_PROBLEMS:
            self.problems.append("… and more")

    def advance(self, what: str, n: int) -> None:
        self.checked[what] += n
        if self._progress is not None:
            self._progress(self.checked["rows"] + self.checked["vectors"], self._total)


def verify(session: Session, progress: Callable[[int, int], None] | None = None) -> Report:
    """Check the file's pages, and every row, id, slot and vector of every collection.

    Cost: reads everything once, about 3 µs per row.
    """
    problems = audit.page_problems(session)
    findings = _Findings(progress, 2 * audit.count_rows(session) if session.has_schema() and not problems else 0)
    for problem in problems:
        findings.add(f"file: {problem}")
    if session.has_schema() and not findings.problems:
        for name in catalog.names(session):
            record = catalog.find(session, name)
            if record is not None:
                findings.advance("collections", 1)
                try:
                    _check_collection(session, record, findings)
                except (Corrupted, UnicodeDecodeError) as error:
                    findings.add(f"collection {record.name!r}: {error}")
    return Report(problems=tuple(findings.problems), repaired=(), checked=findings.checked)


def _check_collection(session: Session, record: CollectionRecord, findings: _Findings) -> None:
    where = f"collection {record.name!r}"
    expected: dict[int, dict[int, int]] = {entry.id: {} for entry in record.fields}
    last = -1
    for row in rows.scan(session, record.id, len(record.fields)):
        last = row.row
        _check_row(row, where, findings)
        for entry in record.fields:
            slot = row.slots[entry.ordinal]
            if slot != NO_SLOT:
                if slot in expected[entry.id]:
                    findings.add(f"{where}: two rows share slot {slot} of field {entry.name!r}")
                expected[entry.id][slot] = row.row
        findings.advance("rows", 1)
    if last >= record.next_row:
        findings.add(f"{where}: row {last} lies beyond the next row number {record.next_row}")
    stray = audit.stray_ids(session, record.id)
    if stray:
        findings.add(f"{where}: {stray} entries of the index of ids match no row")
    for entry in record.fields:
        _check_field(session, record, entry, expected[entry.id], findings)


def _check_row(row: StoredRow, where: str, findings: _Findings) -> None:
    if row.metadata is not None:
        try:
            json.loads(row.metadata)
        except ValueError:
            findings.add(f"{where}, id {shorten(row.id)}: metadata is not JSON")


def _check_field(
    session: Session,
    record: CollectionRecord,
    entry: FieldRecord,
    expected: dict[int, int],
    findings: _Findings,
) -> None:
    where = f"collection {record.name!r}, field {entry.name!r}"
    spec = spec_of(entry)
    missing = dict(expected)
    if spec is not None:
        with Reader(session, entry.id, spec) as reader:
            try:
                for chunk in chunks.changed(session, entry.id, -1):
                    if chunk.alive or chunk.live.any():
                        _check_chunk(_Field(session, record, entry, reader, missing, findings), chunk)
            except Corrupted as error:
                findings.add(f"{where}: {error}")
    for slot, row in list(missing.items())[:_MOST_PROBLEMS]:
        findings.add(f"{where}: slot {slot} of {_name(session, record, row)} is not in the table of chunks")


@dataclass(frozen=True, slots=True)
class _Field:
    """A vector field under check. missing: slot -> row, of slots that no chunk has shown yet."""

    session: Session
    record: CollectionRecord
    entry: FieldRecord
    reader: Reader
    missing: dict[int, int]
    findings: _Findings


def _check_chunk(field: _Field, chunk: chunks.Chunk) -> None:
    session, record, entry, findings, missing = field.session, field.record, field.entry, field.findings, field.missing
    where = f"collection {record.name!r}, field {entry.name!r}"
    spec = spec_of(entry)
    assert spec is not None  # noqa: S101 - checked by the caller
    vectors = np.empty((chunk.written, spec.width), spec.storage_dtype)
    try:
        field.reader.into(chunk.first, 0, vectors)
    except Corrupted as error:
        findings.add(f"{where}: {error}")
        return
    sums = chunks.stored_sums(session, entry.id, chunk.first)
    bad: NDArray[np.bool_] = np.ones(chunk.written, np.bool_)
    if len(sums) == chunk.written:
        bad = sums != chunks.checksums(vectors, np.arange(chunk.first, chunk.first + chunk.written))
    for offset in np.flatnonzero(chunk.live).tolist():
        slot, row = chunk.first + offset, int(chunk.rows[offset])
        if missing.get(slot) != row:
            findings.add(f"{where}: slot {slot} is live for row {row}, which does not use it")
        missing.pop(slot, None)
        if bad[offset]:
            findings.add(f"{where}: the vector of {_name(session, record, row)} has changed on disk")
    if chunk.alive != int(chunk.live.sum()):
        findings.add(f"{where}: the chunk at slot {chunk.first} miscounts its live slots")
    findings.advance("vectors", int(chunk.live.sum()))


def _name(session: Session, record: CollectionRecord, row: int) -> str:
    found = rows.by_numbers(session, record.id, [row], len(record.fields), slots_only=True)
    return f"id {shorten(found[0].id)}" if found else f"row {row}"


def repair(session: Session, progress: Callable[[int, int], None] | None = None) -> Report:
    """Rebuild what is derived (indexes, tables of slots), then verify again.

    Vectors and rows themselves are never changed or deleted: damage to them stays in the report.
    """
    before = verify(session, progress)
    repaired: list[str] = []
    if session.has_schema() and not before.ok:
        audit.rebuild_indexes(session)
        repaired.append("rebuilt the file's SQL indexes")
        for name in catalog.names(session):
            record = catalog.find(session, name)
            if record is not None:
                _rebuild_chunks(session, record)
                repaired.append(f"rebuilt the table of slots of {name!r}")
    after = verify(session, progress) if repaired else before
    return Report(problems=after.problems, repaired=tuple(repaired), checked=after.checked)


def _rebuild_chunks(session: Session, record: CollectionRecord) -> None:
    """Derive which slots are live, and for which rows, from the rows."""
    owner: dict[int, dict[int, int]] = {entry.id: {} for entry in record.fields}
    for row in rows.scan(session, record.id, len(record.fields)):
        for entry in record.fields:
            if row.slots[entry.ordinal] != NO_SLOT:
                owner[entry.id][row.slots[entry.ordinal]] = row.row
    version = record.version + 1
    for entry in record.fields:
        chunks.rebuild(session, entry.id, owner[entry.id], version)
    rows.touch(session, record.id, rows.numbers(session, record.id), version)
    for entry in record.fields:  # codes of slots that were taken for dead are not theirs
        for identity in codes.codebook_ids(session, entry.id):
            codes.drop_codebook(session, entry.id, identity)
    fields = tuple(replace(entry, codebook=None, covered=0) for entry in record.fields)
    catalog.save(session, replace(record, fields=fields))
