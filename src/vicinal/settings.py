"""Every limit and default, with its reason."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Final, Literal

from vicinal.errors import InvalidInput, shorten

Durability = Literal["full", "relaxed"]

MAX_ID_BYTES: Final = 64 * 1024
MAX_DOCUMENT_BYTES: Final = 256 * 1024 * 1024
MAX_METADATA_BYTES: Final = 16 * 1024 * 1024
MAX_METADATA_DEPTH: Final = 64
MAX_NAME_CHARACTERS: Final = 255
MAX_K: Final = 1_000_000
MAX_QUERIES: Final = 1_000_000

_UNITS: Final = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def parse_bytes(value: int | str) -> int:
    """Return a size in bytes from a number or from text such as `"256MB"` (powers of 1024).

    Raises InvalidInput for anything else, and for sizes below 1 MB.
    """
    size = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        text = value.strip().upper().replace("IB", "B")
        number = text.rstrip("KMGTB ")
        unit = text[len(number) :].strip() or "B"
        try:
            size = int(float(number) * _UNITS[unit if unit.endswith("B") else unit + "B"])
        except (ValueError, KeyError, OverflowError):
            size = -1
    if size < _UNITS["MB"]:
        message = f"a size is a number of bytes or text such as '256MB', at least 1MB; got {shorten(value)}"
        raise InvalidInput(message)
    return size


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def half_of_memory() -> int:
    """Return half of the machine's physical memory in bytes; 1 GB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return 1 << 30


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a database is opened.

    timeout: seconds a writer waits for another writer before `Locked`.
    durability: "full" survives power loss; "relaxed" may lose the last commits then, never the file.
    memory_budget: bytes of vectors kept in memory; beyond it they are streamed from the file.
    threads: of one search.
    maintenance: run maintenance in a background thread of this process: it gives space back, and makes codes of rows
        that came in small writes. Without it, `compact` does.
    """

    timeout: float = 5.0
    durability: Durability = "full"
    memory_budget: int = field(default_factory=half_of_memory)
    threads: int = field(default_factory=lambda: min(8, processors()))
    read_only: bool = False
    maintenance: bool = True

    def __post_init__(self) -> None:
        if self.durability not in ("full", "relaxed"):
            message = f"durability is 'full' or 'relaxed', not {shorten(self.durability)}"
            raise InvalidInput(message)
        if not _is_number(self.timeout) or not 0 <= self.timeout <= 86_400:
            message = f"timeout is a number of seconds from 0 to 86400, not {shorten(self.timeout)}"
            raise InvalidInput(message)
        if not _is_number(self.threads) or self.threads != int(self.threads) or not 1 <= self.threads <= 1024:
            message = f"threads is a number from 1 to 1024, not {shorten(self.threads)}"
            raise InvalidInput(message)
