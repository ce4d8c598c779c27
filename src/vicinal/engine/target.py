"""What a search is about, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicinal.engine.slotmap import SlotMap
    from vicinal.engine.view import View
    from vicinal.storage.catalog import FieldRecord
    from vicinal.vectors import VectorSpec

Nearest = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Positions and distances, sorted by (distance, position), ties with the k-th included."""


@dataclass(frozen=True, slots=True)
class Field:
    """A vector field under one mask over positions (None for all); `filtered` by the caller's filter."""

    view: View
    entry: FieldRecord
    spec: VectorSpec
    slot_map: SlotMap
    mask: NDArray[np.bool_] | None
    filtered: bool
    threads: int
