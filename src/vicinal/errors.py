"""Every error vicinal raises, in one tree.

VicinalError
├── InvalidInput (ValueError)        a value, name or argument that cannot be accepted
│   ├── InvalidVector                wrong dimension, NaN, zero under cosine, overflow, …
│   ├── InvalidMetadata              a value or key outside the value model
│   ├── InvalidId                    an id of the wrong type, empty, too long or repeated
│   └── InvalidFilter                a filter that does not parse or names no operator
├── NotFound (LookupError)           no such collection, id, file or embedder
├── Conflict                         the request contradicts what is stored
│   ├── AlreadyExists                an id or a collection of that name exists
│   └── SpecMismatch (ValueError)    a specification differs from the stored one
├── Locked (TimeoutError)            another writer held the file longer than `timeout`
├── ReadOnly (PermissionError)       a write to something opened or mounted read-only
├── StorageError (OSError)           the file cannot serve the request
│   ├── NotADatabase                 the file is not an SQLite file, or not one of ours
│   ├── Corrupted                    bytes changed outside vicinal
│   ├── StorageFull                  the disk or a quota is full
│   └── UnsupportedVersion           written by a newer vicinal, or SQLite is too old
├── UnsafeAccess (RuntimeError)      a use that would corrupt data: after fork, two SQLite libraries
├── Closed (RuntimeError)            the database, or the transaction, has ended
├── Unsupported (NotImplementedError) the backend has no such capability
├── MissingExtra (ImportError)       an optional dependency is not installed
└── EmbeddingFailed (RuntimeError)   an embedder failed or returned something unusable

Each class carries `code` (stable, for programs), `status` (HTTP) and `exit_code` (CLI).
A message says what was wrong, with which value, and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "Closed",
    "Conflict",
    "Corrupted",
    "EmbeddingFailed",
    "InvalidFilter",
    "InvalidId",
    "InvalidInput",
    "InvalidMetadata",
    "InvalidVector",
    "Locked",
    "MissingExtra",
    "NotADatabase",
    "NotFound",
    "ReadOnly",
    "SpecMismatch",
    "StorageError",
    "StorageFull",
    "UnsafeAccess",
    "Unsupported",
    "UnsupportedVersion",
    "VicinalError",
    "shorten",
]


def shorten(value: object, limit: int = 60) -> str:
    """Return `repr(value)` cut to `limit` characters, safe to put into a message."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class VicinalError(Exception):
    """Base of every error that vicinal raises on purpose."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class InvalidInput(VicinalError, ValueError):
    """A value, a name or an argument that cannot be accepted."""

    code = "invalid_input"
    status = 422
    exit_code = 2


class InvalidVector(InvalidInput):
    """A vector that does not fit its field."""

    code = "invalid_vector"


class InvalidMetadata(InvalidInput):
    """Metadata outside the value model."""

    code = "invalid_metadata"


class InvalidId(InvalidInput):
    """An id of the wrong type, empty, too long, or repeated in one call."""

    code = "invalid_id"


class InvalidFilter(InvalidInput):
    """A filter that does not parse, or uses an unknown operator."""

    code = "invalid_filter"


class NotFound(VicinalError, LookupError):
    """No such collection, id, file or embedder."""

    code = "not_found"
    status = 404
    exit_code = 3


class Conflict(VicinalError):
    """The request contradicts what is stored."""

    code = "conflict"
    status = 409
    exit_code = 4


class AlreadyExists(Conflict):
    """An id, or a collection of that name, exists already."""

    code = "already_exists"


class SpecMismatch(Conflict, ValueError):
    """A specification differs from the stored one."""

    code = "spec_mismatch"


class Locked(VicinalError, TimeoutError):
    """Another writer held the file for longer than the timeout."""

    code = "locked"
    status = 503
    exit_code = 5


class ReadOnly(VicinalError, PermissionError):
    """A write to a database that was opened, or is mounted, read-only."""

    code = "read_only"
    status = 403
    exit_code = 6


class StorageError(VicinalError, OSError):
    """The file cannot serve the request."""

    code = "storage_error"
    status = 500
    exit_code = 7


class NotADatabase(StorageError):
    """The file is not an SQLite database."""

    code = "not_a_database"


class Corrupted(StorageError):
    """Bytes of the file changed outside vicinal."""

    code = "corrupted"


class StorageFull(StorageError):
    """The disk, or a limit on the file's size, is reached."""

    code = "storage_full"
    status = 507


class UnsupportedVersion(StorageError):
    """The file was written by a newer vicinal, or the SQLite library is too old."""

    code = "unsupported_version"


class UnsafeAccess(VicinalError, RuntimeError):
    """A use that would corrupt data: after a fork, or through a second SQLite library."""

    code = "unsafe_access"


class Closed(VicinalError, RuntimeError):
    """The database, or the transaction, has ended."""

    code = "closed"


class Unsupported(VicinalError, NotImplementedError):
    """The backend does not have this capability."""

    code = "unsupported"
    status = 501


class MissingExtra(VicinalError, ImportError):
    """An optional dependency is not installed; the message is the install line."""

    code = "missing_extra"
    status = 501

    @classmethod
    def of(cls, what: str, extra: str) -> MissingExtra:
        """Return the error for feature `what` that needs `vicinal[extra]`."""
        return cls(f'{what} needs an optional dependency: pip install "vicinal[{extra}]"')


class EmbeddingFailed(VicinalError, RuntimeError):
    """An embedder failed, or returned something that cannot be stored."""

    code = "embedding_failed"
    status = 502
