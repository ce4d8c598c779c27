"""The slots of a vector field in memory: which row each holds, and whether it is live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vicinal.engine.growing import Growing, renewed
from vicinal.storage import chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.storage.catalog import FieldRecord
    from vicinal.storage.session import Session

T = TypeVar("T", bound=np.generic)
_MUCH_DEAD = 0.5
_FEW = 4096


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Positions 0..n-1 in the order of slots; arrays aligned to them must not be written to.

    slots, rows: int64. live: bool, the view of `alive`, and one object as long as the map is.
    Maps of one history may differ: what is brought up to date in fewer steps never sees slots that came and
    went between them. So what was made for one map (vectors, positions) serves another where their `slots` agree.
    """

    slots: Growing[np.int64]
    rows: Growing[np.int64]
    alive: Growing[np.bool_]
    live: NDArray[np.bool_]
    n_live: int

    def __len__(self) -> int:
        return self.slots.length


def load(session: Session, field: FieldRecord) -> SlotMap:
    """Read the map of all chunks. Cost: about 20 ms per million slots."""
    found = [chunk for chunk in chunks.changed(session, field.id, -1) if chunk.alive]
    slots = [np.arange(chunk.first, chunk.first + chunk.written, dtype=np.int64) for chunk in found]
    live = _joined([chunk.live for chunk in found], np.bool_)
    return SlotMap(
        Growing.of(_joined(slots, np.int64)),
        Growing.of(_joined([chunk.rows for chunk in found], np.int64)),
        Growing.of(live),
        live,
        int(np.count_nonzero(live)),
    )


def _joined(parts: Sequence[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def refresh(old: SlotMap, version: int, session: Session, field: FieldRecord) -> SlotMap | None:
    """Return `old`, made at `version`, brought up to the session's snapshot.

    None where it must be loaded anew: chunks were dropped meanwhile, or most positions are dead.
    Cost: that of the chunks that changed; where rows went, a copy of one byte per position.
    """
    if version < field.floor:
        return None
    slots, rows = old.slots, old.rows
    seen, tail, known = {}, [], slots.view
    last = int(known[-1]) if len(known) else -1
    for chunk in chunks.changed(session, field.id, version):
        fresh = max(0, min(chunk.written, last + 1 - chunk.first))  # slots of this chunk seen before
        start = int(np.searchsorted(known, chunk.first))
        end = int(np.searchsorted(known, chunk.first + fresh))
        if chunk.alive and end - start < fresh:
            return None  # dead before, and therefore left out: a repair has brought it back
        seen[start, end] = chunk.live[known[start:end] - chunk.first]
        if fresh < chunk.written and chunk.alive:
            slots = slots.appended(np.arange(chunk.first + fresh, chunk.first + chunk.written))
            rows = rows.appended(chunk.rows[fresh:])
            tail.append(chunk.live[fresh:])
    alive, gained = renewed(old.alive, seen, tail)
    if alive.length > _FEW and old.n_live + gained < _MUCH_DEAD * alive.length:
        return None
    live = old.live if alive is old.alive else alive.view
    return SlotMap(slots, rows, alive, live, old.n_live + gained)
