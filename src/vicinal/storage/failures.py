"""SQLite's result codes as our errors, with what to do about them."""

from __future__ import annotations

import json

import apsw

from vicinal.errors import (
    Corrupted,
    InvalidInput,
    Locked,
    NotADatabase,
    ReadOnly,
    StorageError,
    StorageFull,
    VicinalError,
)


def translated(error: apsw.Error, path: str) -> VicinalError:
    """Return the vicinal error for an SQLite error on the file `path`."""
    detail = str(error).removesuffix(".")
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return Locked(
                f"{path!r} is being written by another connection; "
                "retry, or wait longer with connect(..., timeout=seconds)"
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return ReadOnly(f"{path!r} is open read-only: {detail}")
        case apsw.NotADBError():
            return NotADatabase(f"{path!r} is not an SQLite database, or is encrypted; it was left untouched")
        case apsw.CorruptError():
            return Corrupted(f"{path!r} is damaged ({detail}); run: vicinal verify {path}")
        case apsw.FullError():
            return StorageFull(f"no space left to write {path!r}; nothing of this call was stored")
        case apsw.CantOpenError():
            return StorageError(f"cannot open {path!r}: {detail}")
        case apsw.IOError():
            return StorageError(f"reading or writing {path!r} failed: {detail}")
        case apsw.NoMemError() | apsw.TooBigError():
            return StorageError(f"too large for SQLite or for memory: {detail}")
        case apsw.SQLError() | apsw.BindingsError() | apsw.ConstraintError() | apsw.MismatchError():
            return InvalidInput(f"SQL error: {detail}")
        case apsw.AuthError():
            return InvalidInput(f"not allowed in user SQL: {detail}")
        case _:
            return StorageError(f"SQLite failed on {path!r}: {detail}")


class translating:  # noqa: N801 - used as a function is
    """Raise vicinal's error in the place of SQLite's. A class: it is entered several times in each call."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if error is None:
            return
        if isinstance(error, apsw.Error):
            raise translated(error, self._path) from error
        if isinstance(error, (UnicodeDecodeError, json.JSONDecodeError)):  # what callers give was checked before
            message = f"{self._path!r} is damaged (stored text: {error}); run: vicinal verify {self._path}"
            raise Corrupted(message) from error
