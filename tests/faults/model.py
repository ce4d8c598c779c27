"""A collection that is known in advance: batch n is the same in every process that counts to it.

Each batch is one transaction of adds, replacements, patches, deletions and a row in the user's own
table, which counts the batches that were committed.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    import vicinal

DIM = 64


def vector(identity: str, generation: int) -> NDArray[np.float32]:
    seed = zlib.crc32(f"{identity}/{generation}".encode())
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


def vectors(ids: list[str], generation: int) -> NDArray[np.float32]:
    return np.stack([vector(identity, generation) for identity in ids])


@dataclass
class Batch:
    number: int
    added: list[str]
    replaced: list[str]
    patched: list[str]
    deleted: list[str]


@dataclass
class Model:
    """`rows`: id -> (generation of its vector, batch that added or replaced it, batch that patched it)."""

    n_rows: int = 12
    most: int = 600
    number: int = 0
    rows: dict[str, tuple[int, int, int | None]] = field(default_factory=dict)

    def next(self) -> Batch:
        """Return the next batch."""
        chance = random.Random(self.number)
        known = list(self.rows)
        chance.shuffle(known)
        n_deleted = self.n_rows // 2 if len(known) < self.most else 2 * self.n_rows
        return Batch(
            number=self.number,
            added=[f"{self.number}-{at}" for at in range(self.n_rows)],
            replaced=known[:4],
            patched=known[4:8],
            deleted=known[8 : 8 + n_deleted],
        )

    def apply(self, batch: Batch) -> None:
        number = batch.number
        for identity in batch.added:
            self.rows[identity] = (number, number, None)
        for identity in batch.replaced:
            self.rows[identity] = (number, number, None)
        for identity in batch.patched:
            generation, made, _ = self.rows[identity]
            self.rows[identity] = (generation, made, number)
        for identity in batch.deleted:
            del self.rows[identity]
        self.number = number + 1

    def advance_to(self, number: int) -> None:
        while self.number < number:
            self.apply(self.next())

    def document(self, identity: str) -> str:
        return f"row {identity} of {self.rows[identity][1]}"

    def metadata(self, identity: str) -> dict[str, object]:
        _, made, patched = self.rows[identity]
        return {"batch": made} if patched is None else {"batch": made, "patched": patched}


def create(db: vicinal.Database) -> None:
    with db.transaction() as tx:
        db.collection("docs", dim=DIM, metric="l2")
        tx.execute("create table if not exists batches(number integer primary key)")


def store(db: vicinal.Database, batch: Batch) -> None:
    """Store one batch in one transaction."""
    docs = db.collection("docs")
    number = batch.number

    def columns(ids: list[str]) -> dict[str, object]:
        return {
            "ids": ids,
            "vectors": vectors(ids, number),
            "metadata": [{"batch": number}] * len(ids),
            "documents": [f"row {identity} of {number}" for identity in ids],
        }

    with db.transaction() as tx:
        docs.add(**columns(batch.added))
        if batch.replaced:
            docs.upsert(**columns(batch.replaced))
        if batch.patched:
            docs.update(ids=batch.patched, metadata={"patched": number})
        tx.execute("insert into batches(number) values (?)", (number,))
        if batch.deleted:
            docs.delete(batch.deleted)


def n_stored(db: vicinal.Database) -> int:
    """Return how many batches were committed; they are the first ones, without gaps."""
    n, last = db.execute("select count(*), coalesce(max(number), -1) from batches")[0]
    assert n == last + 1
    return n


def check(db: vicinal.Database, model: Model) -> None:
    """Assert that the collection is exactly what the model says: rows, vectors, text, answers."""
    docs = db.collection("docs")
    found = docs.get(include=("document", "metadata", "vector"))
    assert len(found) == len(model.rows) == docs.count()
    for row in found:
        generation, _, _ = model.rows[row.id]
        assert row.metadata == model.metadata(row.id)
        assert row.document == model.document(row.id)
        assert row.vector is not None
        assert row.vector.tobytes() == vector(row.id, generation).tobytes()
    _check_search(docs, model)
    report = db.verify()
    assert report.ok, report.problems
    assert report.checked["rows"] == len(model.rows)


def _check_search(docs: vicinal.Collection, model: Model) -> None:
    ids = sorted(model.rows)
    if not ids:
        return
    known = np.stack([vector(identity, model.rows[identity][0]) for identity in ids])
    chance = np.random.default_rng(model.number)
    for _ in range(3):
        query = chance.standard_normal(DIM).astype(np.float32)
        nearest = np.argsort(np.linalg.norm(known - query, axis=1), kind="stable")[:5]
        assert docs.search(query, k=5).ids == [ids[at] for at in nearest]
    some = model.rows[ids[0]][1]
    passing = {identity for identity in ids if model.rows[identity][1] == some}
    hits = docs.search(known[0], k=len(ids), where={"batch": some})
    assert set(hits.ids) == passing


def audit(path: Path, model: Model, acknowledged: int) -> None:
    """Open what a crash left: every acknowledged batch is whole, at most one more was committed.

    A second opening is clean, and no log stays behind.
    """
    import vicinal  # noqa: PLC0415 - workers import this module before they choose how

    for _ in range(2):
        with vicinal.connect(path, maintenance=False) as db:
            stored = n_stored(db)
            assert acknowledged <= stored <= acknowledged + 1
            model.advance_to(stored)
            check(db, model)
        acknowledged = stored
    assert not path.with_name(path.name + "-wal").exists()
