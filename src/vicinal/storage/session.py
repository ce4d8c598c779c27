"""The session seam: one connection, the snapshot it reads, and what it has not committed.

Functions of `storage/` and `engine/` take a `Session` and never open a connection, so that the same
code runs on a pooled connection and on one that the user owns and runs SQL on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Final

import apsw
import numpy as np

from vicinal.errors import Closed, InvalidInput, ReadOnly, UnsafeAccess
from vicinal.storage.failures import translating
from vicinal.storage.schema import format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Twin = AbstractContextManager["Session | None"]
    Parameters = Sequence[object] | Mapping[str, object] | None

ROLLED_BACK: Final = (
    "SQLite has rolled this transaction back ('or rollback', 'raise(rollback)', or a failing disk): "
    "nothing of it is stored; leave its with-block and begin another"
)
_RESERVED: Final = "vicinal_"
_NAMES_FIRST: Final = frozenset(
    {
        *(apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE),
        *(apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_CREATE_TEMP_TABLE, apsw.SQLITE_CREATE_VTABLE),
        *(apsw.SQLITE_CREATE_VIEW, apsw.SQLITE_CREATE_TEMP_VIEW),
        *(apsw.SQLITE_DROP_TABLE, apsw.SQLITE_DROP_TEMP_TABLE, apsw.SQLITE_DROP_VTABLE),
    }
)
"""Operations whose first argument is the table; temporary ones would hide vicinal's own."""
_NAMES_BOTH: Final = frozenset(
    {
        *(apsw.SQLITE_CREATE_TRIGGER, apsw.SQLITE_CREATE_TEMP_TRIGGER, apsw.SQLITE_DROP_TRIGGER),
        *(apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_CREATE_TEMP_INDEX, apsw.SQLITE_DROP_INDEX),
        *(apsw.SQLITE_ALTER_TABLE, apsw.SQLITE_SAVEPOINT),
    }
)
"""Operations on a named thing of a table: the name and the table."""
_ROW_CHANGES: Final = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_PRAGMAS: Final = frozenset(
    {
        *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"),
        *("foreign_key_list", "foreign_key_check", "foreign_keys", "defer_foreign_keys"),
        *("integrity_check", "quick_check", "optimize", "analysis_limit", "user_version"),
        *("wal_checkpoint", "incremental_vacuum"),
    }
)
"""Pragmas that user SQL may give a value to; all can be read."""


class Moved(Exception):
    """Others committed between a glance and the snapshot that it shall be part of: begin again."""


class Session:
    """One SQLite connection as vicinal uses it.

    `private` holds what the engine derived from this connection's own snapshot (by collection), `records` the
    catalog's entries read last (by name), and
    `stamps` the last stamp seen of each collection: a different one means that a transaction or a
    savepoint was rolled back, or that others committed, and the private state is dropped.
    A session serves one thread at a time; its lock makes that so.
    """

    def __init__(
        self, connection: apsw.Connection, *, path: str, read_only: bool, twin: Callable[[], Twin] = nullcontext
    ) -> None:
        self._connection = connection
        self.path = path
        self.read_only = read_only
        self.twin = twin
        """Lends another session with a snapshot of its own, to read with both at once; None where there is none.

        Whether both see the same is for the caller to find out.
        """
        self.lock = threading.RLock()
        self.closed = False
        self._pid = os.getpid()
        self.private: dict[int, object] = {}
        self.stamps: dict[int, int] = {}
        self.records: dict[str, object] = {}
        self._has_schema = False
        self._user_sql = False
        self._savepoints = 0
        self._glances: list[tuple[str, Parameters, object]] | None = None

    @property
    def connection(self) -> apsw.Connection:
        """The connection; inside `looking`, to ask for it begins the snapshot."""
        if self._glances is not None:
            self._begin(self._glances)
        return self._connection

    def has_schema(self) -> bool:
        """Return whether the file holds vicinal's tables, as this snapshot sees it."""
        if self._has_schema:
            return True
        with self.lock:
            found = format_of(self.connection) > 0
            self._has_schema = found and not self.writing_now  # what this transaction made may be rolled back
        return found

    @property
    def writing_now(self) -> bool:
        """Whether uncommitted changes of this connection may be visible to it."""
        return bool(self._connection.txn_state("main") == apsw.SQLITE_TXN_WRITE)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one snapshot for the block; inside a transaction, the transaction's own."""
        with self.lock, translating(self.path):
            if self.connection.in_transaction:
                yield
                return
            # Inside the try: Ctrl-C may arrive just when BEGIN has succeeded.
            try:
                self._connection.execute("begin")
                yield
            finally:
                self._roll_back()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Hold a snapshot like `reading`, which begins when something is read from it.

        What `glance` returns before is part of it: Moved is raised where it is not so any more. A search that
        finds all else in memory so reads from the file once.
        """
        with self.lock, translating(self.path):
            if self._connection.in_transaction:
                yield
                return
            try:
                self._glances = []
                yield
            finally:
                self._glances = None
                self._roll_back()

    def glance(self, sql: str, parameters: Parameters) -> apsw.SQLiteValue:
        """Return the first value of the first row, None without rows; inside `looking` it begins no snapshot."""
        found: apsw.SQLiteValue = self._connection.execute(sql, parameters).get
        if self._glances is not None:
            self._glances.append((sql, parameters, found))
        return found

    def _begin(self, glances: list[tuple[str, Parameters, object]]) -> None:
        self._glances = None
        self._connection.execute("begin")
        if any(self._connection.execute(sql, parameters).get != seen for sql, parameters, seen in glances):
            raise Moved

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold one snapshot for the block, which may be entered, used and left by different threads."""
        try:
            with self.lock, translating(self.path):
                self._connection.execute("begin")
            yield
        finally:
            with self.lock:
                self._roll_back()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Run the block as one atomic change: a transaction, or a savepoint inside one.

        Raises ReadOnly; Locked when another writer does not finish within the timeout.
        """
        if self.read_only:
            message = f"{self.path!r} is open read-only"
            raise ReadOnly(message)
        with self.lock, translating(self.path):
            if self.connection.in_transaction:
                with self.savepoint():
                    yield
                return
            try:
                self._connection.execute("begin immediate")
                yield
                self._check_process()
                self._check_open()
                self._connection.execute("commit")
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Like `writing`, around code of the user, whose context may go on in other threads inside the block."""
        if self.read_only:
            message = f"{self.path!r} is open read-only"
            raise ReadOnly(message)
        if self.connection.in_transaction:
            with translating(self.path), self.savepoint():
                yield
            return
        try:
            with self.lock, translating(self.path):
                self._connection.execute("begin immediate")
            yield
            self._check_process()
            with self.lock, translating(self.path):
                self._check_open()
                self._connection.execute("commit")
        except BaseException:
            if os.getpid() == self._pid:
                with self.lock, translating(self.path):
                    self._roll_back()
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Run the block as one atomic part of the transaction under way; SQLite's errors come through."""
        self._savepoints += 1
        name = f"vicinal_{self._savepoints}"
        opened = False
        try:
            with self.lock:
                self._connection.execute(f"savepoint {name}")
            opened = True
            yield
            self._check_process()
            with self.lock:
                self._check_open()
                self._connection.execute(f"release {name}")
        except BaseException:
            # Some failures (disk full, I/O error) end the whole transaction by themselves.
            if opened and self._roll_back_possible():
                with self.lock, suppress(apsw.SQLError):  # released already: Ctrl-C came just then
                    self._connection.execute(f"rollback to {name}")
                    self._connection.execute(f"release {name}")
            raise
        finally:
            self._savepoints -= 1

    def _check_process(self) -> None:
        """Refuse to end, in a forked child, what the parent has begun. Raises UnsafeAccess."""
        if os.getpid() != self._pid:
            message = f"a transaction on {self.path!r} belongs to the process that began it, not to its forked child"
            raise UnsafeAccess(message)

    def _check_open(self) -> None:
        """Refuse to go on after SQL (`or rollback`, `raise(rollback)`) has undone the whole transaction."""
        if not self._connection.in_transaction:
            raise Closed(ROLLED_BACK)

    def abandon(self) -> None:
        """Roll back what a call that was cut short left open."""
        with self.lock:
            self._roll_back()
            self._savepoints = 0
            self.private.clear()
            self.stamps.clear()

    def _roll_back_possible(self) -> bool:
        return os.getpid() == self._pid and self._connection.in_transaction

    def _roll_back(self) -> None:
        if self._roll_back_possible():
            self._connection.execute("rollback")

    def run(self, sql: str, parameters: Parameters = None) -> list[tuple[apsw.SQLiteValue, ...]]:
        """Run one of vicinal's own statements to its end and return its rows."""
        with self.lock:
            return self.connection.execute(sql, parameters).fetchall()

    def run_user(self, sql: str, parameters: Parameters, *, in_transaction: bool) -> list[tuple[object, ...]]:
        """Run the user's SQL; return its rows.

        vicinal's own tables can be read, not changed; a transaction that `transaction()` has opened
        is ended by it, not by SQL (savepoints are fine).
        """
        if not isinstance(sql, str):
            message = f"sql is text, not {type(sql).__name__}"
            raise InvalidInput(message)
        with self.lock, translating(self.path):
            denied: list[str] = []
            self._connection.authorizer = _Authorizer(denied, in_transaction=in_transaction)
            try:
                found: list[tuple[object, ...]] = list(self._connection.execute(sql, _bindable(parameters)))
            except apsw.AuthError as error:
                raise InvalidInput(denied[0] if denied else str(error)) from error
            except TypeError as error:
                message = f"parameters are a list or a dict of None, int, float, str and bytes: {error}"
                raise InvalidInput(message) from error
            else:
                if self._connection.in_transaction and not in_transaction:
                    message = (
                        "this SQL leaves a transaction open, which other threads would write into: use db.transaction()"
                    )
                    raise InvalidInput(message)
                return found
            finally:
                self._connection.authorizer = None
                if not in_transaction:
                    self._roll_back()

    def checkpoint(self) -> None:
        """Copy what is in the log into the file, as far as no reader stands in the way; nobody waits for it."""
        with self.lock, translating(self.path):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def forget(self) -> None:
        """Drop what was derived from this connection's snapshot."""
        self.private.clear()
        self.stamps.clear()
        self.records.clear()

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        with self.lock:
            self.forget()
            self._connection.close(True)
            self.closed = True


def _bindable(parameters: Parameters) -> Parameters:
    """Return parameters with NumPy numbers as Python's, which SQLite would take for blobs."""
    if isinstance(parameters, Mapping):
        return {name: _plain(value) for name, value in parameters.items()}
    return [_plain(value) for value in parameters] if isinstance(parameters, (list, tuple)) else parameters


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


class _Authorizer:
    """Decide what the user's SQL may do, and remember why something was refused."""

    def __init__(self, denied: list[str], *, in_transaction: bool) -> None:
        self._denied = denied
        self._in_transaction = in_transaction
        self._altering = False

    def __call__(
        self,
        operation: int,
        first: str | None,
        second: str | None,
        _database: str | None,
        _trigger: str | None,
    ) -> int:
        reason = self._reason(operation, first or "", second or "")
        if reason:
            self._denied.append(reason)
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def _reason(self, operation: int, first: str, second: str) -> str | None:
        """Return why the operation is refused, or None."""
        names = (first,) if operation in _NAMES_FIRST else (first, second) if operation in _NAMES_BOTH else ()
        for name in names:
            if name.lower().startswith(_RESERVED):
                return (
                    f"{name!r} is vicinal's own: such tables can be read in SQL, and changed only through a collection"
                )
        if operation == apsw.SQLITE_TRANSACTION and self._in_transaction:
            return f"{first} inside db.transaction(): leave its with-block to commit, raise to roll back"
        if operation == apsw.SQLITE_ALTER_TABLE and first == "temp":
            return "a temporary table cannot be altered here; create it as it shall be"
        if operation in (apsw.SQLITE_DROP_TABLE, apsw.SQLITE_ALTER_TABLE):
            self._altering = True  # SQLite then keeps its own count of autoincrement tables
        if operation in _ROW_CHANGES and first == "sqlite_sequence" and not self._altering:
            return "sqlite_sequence also numbers vicinal's collections: it can be read in SQL, not changed"
        if operation == apsw.SQLITE_PRAGMA and second and first.lower() not in _PRAGMAS:
            return f"pragma {first} is set by vicinal.connect(); it can be read in SQL, not changed"
        return None
