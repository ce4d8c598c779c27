"""Storing what a source yields, batch by batch.

Each batch is one transaction: whatever happens in between, whole batches are stored. Rows with ids
replace those that have the same id, so that the same import can simply be run again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from vicinal.errors import InvalidInput, VicinalError
from vicinal.exchange.batch import ONLY, Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vicinal.collection import Collection
    from vicinal.exchange.batch import Source, VectorColumn
    from vicinal.values import Id

__all__ = ["BATCH_ROWS", "Loaded", "load_rows"]

BATCH_ROWS = 1000
Mode = Literal["replace", "refuse"]
E = TypeVar("E", bound=VicinalError)

_POSITION = re.compile(r"(?:ids|documents|metadata|rows)\[(\d+)\]|\b(?:row|document) (\d+)\b")
_COUNTED = re.compile(r"^row \d+[:,] ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an import has stored so far.

    rows: read from the source and stored.
    repeated: of these, rows that a later one of the same batch replaced.
    generated_ids: whether the rows got new ids, so that storing them again would double them.
    done: how much of the source has been read, from 0 to 1.
    """

    rows: int = 0
    batches: int = 0
    repeated: int = 0
    generated_ids: bool = False
    done: float = 0.0


def load_rows(
    collection: Collection,
    source: Source,
    *,
    batch_rows: int = BATCH_ROWS,
    mode: Mode = "replace",
    skip: int = 0,
    progress: Callable[[Loaded], None] | None = None,
) -> Loaded:
    """Store the rows of `source` after the first `skip`, and return what was stored.

    `mode` says what happens to a row whose id exists: it is replaced as a whole, or refused with
    AlreadyExists. Rows without ids get new ones. `progress` is called after each batch is durable.
    An error names the row's place in the source and how much had been stored before it.
    """
    if batch_rows < 1 or skip < 0:
        message = f"a batch has at least 1 row and skip is not negative; got {batch_rows} and {skip}"
        raise InvalidInput(message)
    writer = _Writer(collection, source, mode)
    state = Loaded()
    try:
        for batch in _after(source.batches(batch_rows), skip):
            state = writer.store(batch, state)
            if progress:
                progress(state)
    except VicinalError as error:
        if not state.rows:
            raise
        raise _extended(error, f"{error}; the {state.rows:,} rows before this batch are stored") from error
    return state


def _after(batches: Iterator[Batch], skip: int) -> Iterator[Batch]:
    """Yield what follows the first `skip` rows."""
    for batch in batches:
        if skip >= len(batch):
            skip -= len(batch)
            continue
        yield batch.take(range(skip, len(batch))) if skip else batch
        skip = 0


class _Writer:
    """Stores batches in one collection."""

    def __init__(self, collection: Collection, source: Source, mode: Mode) -> None:
        info = collection.info()
        self.collection = collection
        self.source = source
        self.replace = mode == "replace"
        # A file's bare numbers may stand for text; a collection has one type of id.
        self.ids_are_text = info["id_type"] == "str"
        # Rows of an export that have no vector stay without one, whatever the embedder.
        self.fields = [
            name for name, entry in source.spec.fields.items() if source.spec.has_vectors and entry.dim is not None
        ] if source.spec else []  # fmt: skip

    def store(self, batch: Batch, state: Loaded) -> Loaded:
        """Write one batch, and return what has been stored with it."""
        n_read = len(batch)
        if batch.ids is not None and self.replace:
            batch = _latest(batch)
        write = self.collection.upsert if batch.ids is not None and self.replace else self.collection.add
        try:
            write(
                ids=self._ids(batch),
                vectors=self._vectors(batch),
                documents=batch.documents,
                metadata=batch.metadata,
                expires=batch.expires,
            )
        except VicinalError as error:
            said = _COUNTED.sub("", str(error))  # the place says it in the numbers of the source
            raise _extended(error, f"{_place(self.source.path, batch, error)}: {said}") from error
        return Loaded(
            rows=state.rows + n_read,
            batches=state.batches + 1,
            repeated=state.repeated + n_read - len(batch),
            generated_ids=batch.ids is None,
            done=batch.done,
        )

    def _ids(self, batch: Batch) -> list[Id] | None:
        if batch.ids is None or not self.ids_are_text:
            return batch.ids
        return [str(identity) if type(identity) is int else identity for identity in batch.ids]

    def _vectors(self, batch: Batch) -> object:
        if batch.vectors is not None and set(batch.vectors) == {ONLY}:
            return batch.vectors[ONLY]
        missing: dict[str, VectorColumn] = {name: [None] * len(batch) for name in self.fields}
        return {**missing, **(batch.vectors or {})} or None


def _latest(batch: Batch) -> Batch:
    """Return the batch with the last row of each id."""
    last = {identity: position for position, identity in enumerate(batch.ids or ())}
    return batch if len(last) == len(batch) else batch.take(sorted(last.values()))


def _place(path: Path, batch: Batch, error: VicinalError) -> str:
    """Return where in the source an error arose: the row that its message counts, else the batch."""
    match = _POSITION.search(str(error))
    position = int(match[1] or match[2]) if match else -1
    if isinstance(error, InvalidInput) and 0 <= position < len(batch):
        return f"{path.name}, {batch.unit} {batch.numbers[position]}"
    if len(batch) == 1:
        return f"{path.name}, {batch.unit} {batch.numbers[0]}"
    return f"{path.name}, {batch.unit}s {batch.numbers[0]} to {batch.numbers[-1]}"


def _extended(error: E, message: str) -> E:
    """Return an error of the same class that says more."""
    return type(error)(message)
