"""A disk whose power can fail, or whose n-th operation fails: an SQLite VFS written in Python.

Writes that were not synced are kept or dropped, sector by sector, at random when the power is cut.
"""

from __future__ import annotations

import collections
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

import vicinal
from vicinal.engine import embedded
from vicinal.storage import connection
from vicinal.storage.pool import Pool

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

SECTOR = 512


class World:
    """One disk. `power` runs out after so many operations; operation `failing` of its kind fails once."""

    def __init__(self, chance: random.Random, power: float = float("inf")) -> None:
        self.chance = chance
        self.power = power
        self.failing: tuple[str, int] | None = None
        self.failed = False
        self.undo: dict[str, list[tuple[int, bytes, int, bytes]]] = collections.defaultdict(list)

    def tick(self, kind: str) -> None:
        if self.failing is not None and self.failing[0] == kind:
            self.failing = (kind, self.failing[1] - 1)
            if self.failing[1] <= 0:
                self.failing, self.failed = None, True
                message = f"injected: {kind} failed"
                raise apsw.IOError(message)
        if kind != "read":
            self.power -= 1
        if self.power <= 0:
            message = "injected: the power is off"
            raise apsw.IOError(message)

    def cut(self) -> None:
        """Rewrite every file as the disk might hold it after the power came back."""
        for name, log in self.undo.items():
            if not Path(name).exists():
                continue
            with Path(name).open("r+b") as file:
                for offset, old, size, _ in reversed(log):
                    file.seek(offset)
                    file.write(old)
                    file.truncate(size)
                for offset, _, _, new in log:
                    for start in range(0, len(new), SECTOR):
                        if self.chance.random() < 0.5:
                            file.seek(offset + start)
                            file.write(new[start : start + SECTOR])


class _File(apsw.VFSFile):
    def __init__(self, name: object, flags: list[int], world: World) -> None:
        super().__init__("", name, flags)
        self.world = world
        self.path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)

    def xRead(self, amount, offset):  # noqa: N802 - SQLite's name
        self.world.tick("read")
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):  # noqa: N802 - SQLite's name
        self.world.tick("write")
        size = super().xFileSize()
        old = super().xRead(min(len(data), max(0, size - offset)), offset) if size > offset else b""
        self.world.undo[self.path].append((offset, bytes(old), size, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size):  # noqa: N802 - SQLite's name
        self.world.tick("truncate")
        super().xTruncate(size)
        self.world.undo[self.path] = []

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        self.world.tick("sync")
        super().xSync(flags)
        self.world.undo[self.path] = []


class _Disk(apsw.VFS):
    def __init__(self, name: str, world: World) -> None:
        self.world = world
        super().__init__(name, "")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return _File(name, flags, self.world)

    def xDelete(self, name, sync):  # noqa: N802 - SQLite's name
        self.world.tick("delete")
        super().xDelete(name, sync)
        self.world.undo.pop(name, None)


class _OneConnection(Pool):
    """Reads and writes on one connection: a VFS in Python has no shared memory for several."""

    def reader(self):
        return self.writer()


@contextlib.contextmanager
def database(path: Path, world: World, monkeypatch, **options: object) -> Iterator[vicinal.Database]:
    """Open a database on the disk of `world`; what fails when it closes is passed over."""
    name = f"disk{id(world)}"
    disk = _Disk(name, world)

    def opened(target: connection.Target) -> apsw.Connection:
        found = apsw.Connection(target.path, vfs=name)
        found.execute("pragma locking_mode = exclusive").fetchall()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(connection, "_open", opened)
        patched.setattr(embedded, "Pool", _OneConnection)
        db = vicinal.connect(path, maintenance=False, **options)
    try:
        yield db
    finally:
        with contextlib.suppress(apsw.Error, vicinal.VicinalError):
            db.close()
        disk.unregister()
