"""Opening a file: what is checked before it is touched, and the policy every connection gets."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import apsw

from vicinal.errors import (
    InvalidInput,
    NotADatabase,
    NotFound,
    StorageError,
    UnsupportedVersion,
    shorten,
)
from vicinal.storage.failures import translating
from vicinal.storage.schema import APPLICATION_ID, PAGE_BYTES, check_format

if TYPE_CHECKING:
    from vicinal.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY: Final = ":memory:"
_HEADER: Final = b"SQLite format 3\x00"
_SAFE_SQLITE: Final = 3_051_003  # the first release without the WAL-reset race
CHECKPOINT_BYTES: Final = 4 << 20
"""A commit that finds so much in the log copies it into the file."""
_COPIED_BYTES: Final = 1 << 20
_CACHE_BYTES: Final = 32 << 20
_JOURNAL_KEPT_BYTES: Final = 64 << 20
_SLEEP_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Target:
    """A file as it will be opened."""

    path: str
    read_only: bool
    immutable: bool = False

    @property
    def in_memory(self) -> bool:
        """Whether it is gone when closed."""
        return self.path == MEMORY


def locate(path: str | os.PathLike[str], *, read_only: bool) -> Target:
    """Return how to open `path`, after every check that needs no SQLite.

    A file, or a directory, that cannot be written is opened read-only. Nothing is created here.
    Raises InvalidInput, NotFound (no file to read, no such directory) or NotADatabase.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\x00" in str(path):
        message = f"a database is a path or ':memory:', not {shorten(path)}"
        raise InvalidInput(message)
    text = str(os.fspath(path))
    if text == MEMORY:
        return Target(MEMORY, read_only=False)
    file = Path(text).expanduser()
    if file.is_dir():
        message = f"{text!r} is a directory; name a file in it, such as {str(file / 'app.db')!r}"
        raise InvalidInput(message)
    if not file.exists():
        _check_creatable(file, read_only=read_only)
        return Target(str(file.resolve()), read_only=False)
    file = file.resolve()
    _check_header(file)
    writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
    immutable = not os.access(file.parent, os.W_OK) and not _has_log(file)
    return Target(str(file), read_only=read_only or not writable, immutable=immutable)


def _check_creatable(file: Path, *, read_only: bool) -> None:
    if read_only:
        message = f"no file {str(file)!r} to open read-only"
        raise NotFound(message)
    if not file.parent.is_dir():
        message = f"no directory {str(file.parent)!r} to create {file.name!r} in"
        raise NotFound(message)
    if not os.access(file.parent, os.W_OK):
        message = f"cannot create {file.name!r}: the directory {str(file.parent)!r} is read-only"
        raise StorageError(message)


def _check_header(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(100)
    except OSError as error:
        message = f"cannot read {str(file)!r}: {error.strerror}"
        raise StorageError(message) from error
    if head and not head.startswith(_HEADER):
        message = f"{str(file)!r} is not an SQLite database, or is encrypted; it was left untouched"
        raise NotADatabase(message)
    owner = int.from_bytes(head[68:72], "big")
    if owner not in (0, APPLICATION_ID):
        message = f"{str(file)!r} belongs to another application (application_id 0x{owner:08x}); it was left untouched"
        raise NotADatabase(message)


def _has_log(file: Path) -> bool:
    """Return whether somebody has the file open, or left a log behind."""
    log = Path(f"{file}-wal")
    return log.exists() and (log.stat().st_size > 0 or Path(f"{file}-shm").exists())


def fingerprint(path: str) -> tuple[int, ...]:
    """Return numbers that change when others change the file, or open it to write."""
    file = Path(path)
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, _has_log(file)


def connect(target: Target, settings: Settings) -> apsw.Connection:
    """Open one connection with the policy below; the caller closes it.

    Read-write connections use the write-ahead log; `durability="full"` syncs it at every commit.
    Raises UnsupportedVersion, NotADatabase, Corrupted, Locked or StorageError.
    """
    if not target.read_only and apsw.SQLITE_VERSION_NUMBER < _SAFE_SQLITE:
        message = (
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a database written by several connections; "
            "pip install --upgrade apsw (3.51.3 or later), or connect(..., read_only=True)"
        )
        raise UnsupportedVersion(message)
    with translating(target.path):
        connection = _open(target)
        try:
            connection.set_busy_handler(_Patience(settings.timeout))
            check_format(connection)  # first: a file of a newer vicinal stays as it is
            _apply_policy(connection, target, settings)
        except BaseException:
            connection.close(True)
            raise
    return connection


def _open(target: Target) -> apsw.Connection:
    if target.in_memory:
        return apsw.Connection(MEMORY)
    if target.read_only:
        uri = Path(target.path).as_uri() + ("?immutable=1" if target.immutable else "")
        return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    return apsw.Connection(target.path)


def _apply_policy(connection: apsw.Connection, target: Target, settings: Settings) -> None:
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
    run = connection.execute
    if not target.read_only:
        if run("pragma page_count").get == 0:  # a new file: both can only be chosen now
            run(f"pragma page_size = {PAGE_BYTES}").fetchall()
            run("pragma auto_vacuum = incremental").fetchall()
        if not target.in_memory:
            _use_log(connection, settings.timeout)
        run(f"pragma synchronous = {'full' if settings.durability == 'full' else 'normal'}").fetchall()
        page_bytes = int(run("pragma page_size").get)
        connection.wal_autocheckpoint(max(1, CHECKPOINT_BYTES // page_bytes))
        run(f"pragma journal_size_limit = {_JOURNAL_KEPT_BYTES}").fetchall()
    run(f"pragma cache_size = {-_CACHE_BYTES // 1024}").fetchall()
    run("pragma temp_store = memory").fetchall()


def _use_log(connection: apsw.Connection, seconds: float) -> None:
    """Switch to the write-ahead log. Several processes may create one file: SQLite does not wait here."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute("pragma journal_mode = wal").fetchall()
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.002)
        else:
            return


class _Patience:
    """Waits for another writer in short sleeps.

    SQLite's own waiting sleeps up to 100 ms at a time, in which others overtake, and is deaf to Ctrl-C.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0

    def __call__(self, n_calls_before: int) -> bool:
        now = time.monotonic()
        if n_calls_before == 0:
            self._until = now + self._seconds
        if now >= self._until:
            return False
        time.sleep(min(_SLEEP_SECONDS, self._until - now))
        return True


@contextmanager
def impatient(connection: apsw.Connection, timeout: float, seconds: float = 0.0) -> Iterator[None]:
    """Wait `seconds` at most for other connections inside the block; afterwards `timeout` seconds again."""
    connection.set_busy_handler(_Patience(seconds) if seconds else None)
    try:
        yield
    finally:
        connection.set_busy_handler(_Patience(timeout))


def empty_log(connection: apsw.Connection, seconds: float, timeout: float) -> bool:
    """Move the log into the file; return whether it is empty now.

    Tries for `seconds` while others read older snapshots, write, or copy the log themselves. No writer waits for
    these readers, nor while more than a megabyte is copied: writers are kept out only when little is left.
    timeout: the connection's own, put back afterwards.
    """
    deadline = time.monotonic() + seconds
    few_pages = _COPIED_BYTES // int(connection.execute("pragma page_size").get)
    with impatient(connection, timeout):
        while True:
            busy, pages, copied = _checkpoint(connection, "passive")
            if not busy and pages - copied <= few_pages and not _checkpoint(connection, "truncate")[0]:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_SLEEP_SECONDS)


def _checkpoint(connection: apsw.Connection, mode: str) -> tuple[int, int, int]:
    """Return whether something was in the way, and how many pages are in the log and copied."""
    (found,) = connection.execute(f"pragma wal_checkpoint({mode})").fetchall()
    return cast("tuple[int, int, int]", found)
