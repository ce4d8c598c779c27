"""Short write transactions of work that can wait longer than the writers it meets."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from vicinal.storage.connection import impatient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vicinal.storage.pool import Pool
    from vicinal.storage.session import Session

_PATIENCE: Final = 0.1
"""Seconds to wait for another process's write, unless patient."""


class Publisher:
    """Lends the writing session; `patient` says whether to wait for other processes as long as writers do."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.patient = False

    @contextmanager
    def publishing(self) -> Iterator[Session]:
        """Lend a session inside a write transaction. Raises Locked."""
        with self._pool.writer() as session:
            timeout = self._pool.settings.timeout
            patience = nullcontext() if self.patient else impatient(session.connection, timeout, _PATIENCE)
            with patience, session.writing():
                yield session
