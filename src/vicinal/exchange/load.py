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
    from vicinal.exchange.batch import Source

__all__ = ["BATCH_ROWS", "Loaded", "load_rows"]

BATCH_ROWS = 1000
Mode = Literal["replace", "refuse"]
E = TypeVar("E", bound=VicinalError)

_POSITION = re.compile(r"(?:ids|documents|metadata|rows)\[(\d+)\]|\b(?:row|document) (\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an import has stored so far.

    rows: read from the source and stored; `skipped` not counted. repeated: of these, rows that a later row
    of the same batch replaced. done: how much of the source has been read, from 0 to 1.
    """

    rows: int = 0
    batches: int = 0
    repeated: int = 0
    skipped: int = 0
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
    as_text = collection.info().get("id_type") == "str"
    state = Loaded()
    try:
        for batch in _after(source.batches(batch_rows), skip):
            state = _stored(collection, source.path, batch, mode, state, as_text=as_text)
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


def _stored(collection: Collection, path: Path, batch: Batch, mode: Mode, state: Loaded, *, as_text: bool) -> Loaded:
    n_read = len(batch)
    if batch.ids is not None and mode == "replace":
        batch = _latest(batch)
    ids: list[int | str] | None = batch.ids
    if ids is not None and as_text:
        # A file's bare numbers may stand for text; a collection has one type of id.
        ids = [str(identity) if type(identity) is int else identity for identity in ids]
    vectors: object = batch.vectors
    if batch.vectors is not None and set(batch.vectors) == {ONLY}:
        vectors = batch.vectors[ONLY]
    write = collection.upsert if ids is not None and mode == "replace" else collection.add
    try:
        write(
            ids=ids,
            vectors=vectors,
            documents=batch.documents,
            metadata=batch.metadata if batch.metadata is not None or not _bare(batch) else [{}] * len(batch),
            expires=batch.expires,
        )
    except VicinalError as error:
        raise _extended(error, f"{_place(path, batch, error)}: {error}") from error
    return Loaded(
        rows=state.rows + n_read,
        batches=state.batches + 1,
        repeated=state.repeated + n_read - len(batch),
        generated_ids=ids is None,
        done=batch.done,
    )


def _bare(batch: Batch) -> bool:
    return batch.ids is None and batch.vectors is None and batch.documents is None


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
