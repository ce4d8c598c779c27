"""A lease on long work: one at a time among all processes that use a file, and free again when its owner dies."""

from __future__ import annotations

import json
import secrets
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from vicinal.engine.signal import Signal
from vicinal.errors import Locked, VicinalError
from vicinal.storage.connection import impatient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vicinal.storage.pool import Pool
    from vicinal.storage.session import Session

SECONDS: Final = 20.0
"""A lease that is not renewed for so long has lost its owner."""
_RENEWALS: Final = 5
_POLL_SECONDS: Final = 0.05


class Lease:
    """The right to do a piece of work, held until `SECONDS` after its last renewal."""

    def __init__(self, pool: Pool, key: str) -> None:
        self._pool = pool
        self._key = f"lease {key}"
        self._owner = secrets.token_hex(8)
        self._until = 0.0
        self._end = Signal()

    def is_mine(self, session: Session) -> bool:
        """Return whether the lease is still held, as this snapshot sees it."""
        return self._read(session)[0] == self._owner

    def check(self) -> None:
        """Raise Locked where the lease ran out, so that somebody else may be at work."""
        if time.time() > self._until:
            message = f"the {self._key} ran out before it was renewed; what was begun is given up"
            raise Locked(message)

    @contextmanager
    def held(self, wait: float) -> Iterator[bool]:
        """Take the lease, renew it beside the block, and give it back; tell whether it was free in `wait` seconds."""
        if not self._taken(time.monotonic() + wait):
            yield False
            return
        beside = threading.Thread(target=self._renew, name="vicinal-lease", daemon=True)
        try:
            beside.start()
            yield True
        finally:
            self._end.give()
            beside.join()
            with suppress(VicinalError):  # it runs out by itself
                self._give_back()

    def _taken(self, deadline: float) -> bool:
        while True:
            with self._pool.reader() as session, session.reading():
                free = self._is_free(session)
            if free and self._take():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)

    def _take(self) -> bool:
        try:
            with self._writing() as session:
                if not self._is_free(session):
                    return False
                self._write(session)
        except Locked:
            return False
        return True

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """Lend a session to write with, or raise Locked at once: to wait would keep writers here waiting, too."""
        timeout = self._pool.settings.timeout
        with self._pool.writer() as session, impatient(session.connection, timeout), session.writing():
            yield session

    def _is_free(self, session: Session) -> bool:
        owner, until = self._read(session)
        # A time too far ahead was written under another clock.
        return owner is None or owner == self._owner or not time.time() < until < time.time() + 2 * SECONDS

    def _renew(self) -> None:
        while not self._end.wait(SECONDS / _RENEWALS):
            try:
                with self._writing() as session:
                    if not self.is_mine(session):
                        self._until = 0.0
                        return
                    self._write(session)
            except VicinalError:
                continue  # somebody writes for long: tried again, while the lease lasts

    def _give_back(self) -> None:
        with self._pool.writer() as session, session.writing():
            if self.is_mine(session):
                session.run("delete from vicinal_meta where key = ?", (self._key,))

    def _write(self, session: Session) -> None:
        until = time.time() + SECONDS
        value = json.dumps({"owner": self._owner, "until": until})
        session.run("insert or replace into vicinal_meta(key, value) values (?, ?)", (self._key, value))
        self._until = until

    def _read(self, session: Session) -> tuple[str | None, float]:
        if not session.has_schema():
            return None, 0.0
        found = session.run("select value from vicinal_meta where key = ?", (self._key,))
        try:
            stored = json.loads(str(found[0][0])) if found else {}
            return stored.get("owner"), float(stored.get("until", 0.0))
        except (ValueError, TypeError, AttributeError):
            return None, 0.0
