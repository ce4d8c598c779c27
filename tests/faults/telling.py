"""How the programs of the fault tests tell what they did, and hear what was logged."""

from __future__ import annotations

import logging


def said(*words: object) -> None:
    """Print one line at once."""
    print(*words, flush=True)  # noqa: T201


class Heard(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
