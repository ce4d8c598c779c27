"""The corpus as a searchable file, and questions to ask it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vicinal.demo.corpus import standard_library_items
from vicinal.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicinal.collection import Collection
    from vicinal.database import Database

__all__ = ["COLLECTION", "QUESTIONS", "Question", "find_index", "make_index"]

COLLECTION = "stdlib"
EMBEDDER = "wordllama"
UNFINISHED = "stdlib (unfinished)"
BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask, and which rows may answer."""

    text: str
    where: str | None = None


QUESTIONS = (
    Question(text="wait until a thread has finished"),
    Question(text="run a program and capture its output", where="kind = 'function'"),
    Question(text="split text at a separator"),
    Question(text="split text at a separator", where="package = 're'"),
    Question(text="read and write compressed files", where="kind = 'module'"),
)


def find_index(database: Database) -> Collection | None:
    """Return the finished collection of an earlier run, or None.

    Raises Conflict where the database holds something else, which a demonstration leaves alone.
    """
    names = database.collections()
    if COLLECTION in names:
        return database.collection(COLLECTION)
    if names and names != [UNFINISHED]:
        message = f"the database holds {', '.join(map(repr, names))}; choose another file with --path"
        raise Conflict(message)
    return None


def make_index(database: Database, progress: Callable[[int, int], None] | None = None) -> Collection:
    """Collect, embed and store the corpus; return the collection.

    It gets its name when it is complete, so that an interrupted run leaves nothing half done behind.
    `progress` is called with (rows stored, rows in all).
    """
    items = list(standard_library_items())
    for name in (UNFINISHED, COLLECTION):
        if name in database.collections():
            database.drop(name)
    growing = database.collection(UNFINISHED, embedder=EMBEDDER)
    for start in range(0, len(items), BATCH_ROWS):
        batch = items[start : start + BATCH_ROWS]
        growing.add(
            ids=[item.id for item in batch],
            documents=[item.document for item in batch],
            metadata=[item.metadata for item in batch],
        )
        if progress:
            progress(start + len(batch), len(items))
    database.rename(UNFINISHED, COLLECTION)
    return database.collection(COLLECTION)
