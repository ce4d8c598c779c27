"""Sessions for many threads, tasks and processes: readers side by side, one writer at a time."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import ref

from vicinal.errors import Closed, InvalidInput, Locked, ReadOnly, UnsafeAccess, Unsupported
from vicinal.storage import fork, guard
from vicinal.storage.checkpointer import Checkpointer
from vicinal.storage.connection import Target, connect, fingerprint, locate
from vicinal.storage.schema import APPLICATION_ID, FORMAT, format_of, migrate
from vicinal.storage.session import ROLLED_BACK, Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from vicinal.settings import Settings

_IDLE_READERS: Final = 16


def _current_task() -> object:
    """Return the asyncio task that runs, without importing asyncio."""
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # no event loop in this thread
        return None


@dataclass(slots=True)
class _Bound:
    """A transaction as seen from the context, the thread and the task that opened it."""

    pool: Pool
    session: Session
    active: bool = True
    read_only: bool = False
    thread: int = field(default_factory=threading.get_ident)
    task: object = field(default_factory=_current_task)


_bound: ContextVar[tuple[_Bound, ...]] = ContextVar("vicinal_transactions", default=())


def _reader(pool: ref[Pool]) -> AbstractContextManager[Session]:
    found = pool()
    if found is None:
        message = "the database is closed"
        raise Closed(message)
    return found.reader()


def _twin(pool: ref[Pool]) -> AbstractContextManager[Session | None]:
    found = pool()
    return nullcontext() if found is None else found.twin()


class Pool:
    """The connections of one open database.

    Transactions are bound to a context variable: other threads and asyncio tasks do not see them.
    Every use checks the process, because SQLite's locks do not survive a fork.
    """

    def __init__(self, target: Target, settings: Settings) -> None:
        self.target = target
        self.settings = settings
        self._pid = os.getpid()
        self._closed = False
        self._write_lock = threading.Lock()
        self._idle_lock = threading.Lock()
        self._idle: list[Session] = []
        self._mark = fingerprint(target.path) if target.immutable else ()
        self._writer = self._open()
        self._checkpointer: Checkpointer | None = None
        if not (target.in_memory or target.read_only or settings.threads == 1):
            self._checkpointer = Checkpointer(self._writer, partial(_reader, ref(self)))
        self._watched = None if target.in_memory else guard.watch(target.path)

    def _open(self) -> Session:
        fork.refuse_unusable(self.target.path)
        with fork.OPENING:
            connection = connect(self.target, self.settings)
            session = Session(
                connection, path=self.target.path, read_only=self.target.read_only, twin=partial(_twin, ref(self))
            )
            fork.track(session)
        return session

    @contextmanager
    def twin(self) -> Iterator[Session | None]:
        """Lend a session beside one that is in use, where threads may be used and the file can be read by two."""
        if self.target.in_memory or self.settings.threads == 1 or self._closed:
            yield None
            return
        session = self._take()
        try:
            with session.holding():
                yield session
        finally:
            self._give_back(session)

    def _check(self) -> None:
        if self._closed:
            message = f"the database {self.target.path!r} is closed; open it again with vicinal.connect(path)"
            raise Closed(message)
        if os.getpid() != self._pid:
            message = (
                f"{self.target.path!r} was opened before a fork: SQLite connections do not survive one. "
                "Call vicinal.connect(path) in the child process, or start it with multiprocessing's 'spawn'"
            )
            raise UnsafeAccess(message)

    def _current(self) -> _Bound | None:
        for bound in reversed(_bound.get()):
            if bound.pool is self:
                if not bound.active:
                    message = "the transaction of this context has ended; open another with db.transaction()"
                    raise Closed(message)
                if not bound.read_only and (bound.thread, bound.task) != (threading.get_ident(), _current_task()):
                    return None  # a thread or task started inside the block: it waits like any other
                if not bound.session.connection.in_transaction:
                    raise Closed(ROLLED_BACK)
                return bound
        return None

    @property
    def in_transaction(self) -> bool:
        """Whether this context is inside `transaction()`."""
        return self._current() is not None

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """Lend a session to read with: this context's transaction, or one of its own."""
        self._check()
        current = self._current()
        if current is None and self.target.immutable:
            self._follow()
        if current is not None:
            yield current.session
        elif self.target.in_memory:
            with self._exclusive():
                yield self._writer
        else:
            session = self._take()
            try:
                yield session
            finally:
                self._give_back(session)

    @contextmanager
    def writer(self) -> Iterator[Session]:
        """Lend the session to write with. Raises Locked after the timeout."""
        self._check()
        current = self._current()
        if current is None and self.target.immutable:
            self._follow()
        if current is not None:
            if current.read_only:
                message = "a write inside a snapshot: leave its with-block first"
                raise ReadOnly(message)
            yield current.session
        else:
            with self._exclusive():
                yield self._writer

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Bind one write transaction to this context; a savepoint where one is bound already."""
        with self.writer() as session, session.transaction():
            if self._current() is not None:
                yield session
                return
            with self._bind(session):
                yield session

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Bind one read snapshot to this context: all reads inside see the same moment.

        A long one keeps the write-ahead log from being reset. Raises Unsupported for ":memory:".
        """
        if self._current() is not None:
            message = "a snapshot inside db.transaction() would not stand still: iterate without snapshot=True"
            raise InvalidInput(message)
        if self.target.in_memory:
            message = "a database in memory has no snapshots beside writers; read inside db.transaction()"
            raise Unsupported(message)
        with self.reader() as session, session.holding(), self._bind(session, read_only=True):
            yield

    @contextmanager
    def _bind(self, session: Session, *, read_only: bool = False) -> Iterator[None]:
        bound = _Bound(self, session, read_only=read_only)
        token = _bound.set((*_bound.get(), bound))
        try:
            yield
        finally:
            bound.active = False
            _bound.reset(token)

    def ensure_schema(self, session: Session) -> None:
        """Bring the file to the current format, inside the caller's write."""
        if format_of(session.connection) == FORMAT:
            return
        empty = session.run("select count(*) from sqlite_schema")[0][0] == 0
        migrate(session.connection)
        if empty:
            session.run(f"pragma application_id = {APPLICATION_ID}")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        held: list[bool] = []
        try:
            # One call in C: Ctrl-C cannot fall between taking the lock and knowing that it is taken.
            held.extend(map(self._write_lock.acquire, (True,), (self.settings.timeout,)))
            if not held[0]:
                message = (
                    f"{self.target.path!r} is being written by another thread or task of this process for more than "
                    f"{self.settings.timeout:g} s; retry, or wait longer with connect(..., timeout=seconds)"
                )
                raise Locked(message)
            self._check()
            self._tidy()
            yield
        finally:
            if held and held[0]:
                try:
                    self._tidy()
                finally:
                    self._write_lock.release()

    def _tidy(self) -> None:
        """Roll back what Ctrl-C left open on the writing connection: nobody owns it, and others wait for it."""
        if not self._closed and os.getpid() == self._pid and self._writer.connection.in_transaction:
            self._writer.abandon()

    def _follow(self) -> None:
        """Open the file again where others changed it: SQLite believes that what is immutable stays as it is."""
        mark = fingerprint(self.target.path)
        if mark == self._mark:
            return
        with self._write_lock, self._idle_lock:
            if mark == self._mark:
                return
            old, self._idle = [*self._idle, self._writer], []
            self.target = locate(self.target.path, read_only=True)
            self._writer, self._mark = self._open(), mark
        for session in old:
            session.close()

    def _take(self) -> Session:
        with self._idle_lock:
            if self._idle:
                return self._idle.pop()
        return self._open()

    def _give_back(self, session: Session) -> None:
        if os.getpid() != self._pid:
            return
        # Ctrl-C may have come before the snapshot's end: a reader that keeps it would read the past for ever.
        if not session.connection.in_transaction:
            with self._idle_lock:
                if not self._closed and len(self._idle) < _IDLE_READERS:
                    self._idle.append(session)
                    return
        session.close()

    def close(self) -> None:
        """Close every connection; waits for the write under way. A second call does nothing.

        Raises InvalidInput inside a transaction of this context, which would wait for itself.
        """
        if self._closed or os.getpid() != self._pid:
            return
        if any(bound.pool is self and bound.active and not bound.read_only for bound in _bound.get()):
            message = f"{self.target.path!r} cannot be closed inside its own transaction: leave the with-block first"
            raise InvalidInput(message)
        if self._checkpointer is not None:
            self._checkpointer.stop()
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
            with self._idle_lock:
                idle, self._idle = self._idle, []
            for session in (*idle, self._writer):
                session.close()
            guard.unwatch(self._watched)
