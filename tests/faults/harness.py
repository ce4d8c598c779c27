"""Processes that are started, talked to and killed; small disks; two tiers of rounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import vicinal

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_SECONDS = 1500
FULL = (pytest.mark.faults, pytest.mark.slow)
"""Marks of the rounds that take minutes: out of `make test`, in `make faults`."""


def tiers(fast: Any, full: Any) -> pytest.MarkDecorator:
    """Parametrise `rounds`: a few in the fast tests, all of them in `make faults`."""
    return pytest.mark.parametrize("rounds", [pytest.param(fast, id="fast"), pytest.param(full, id="full", marks=FULL)])


def environment(**extra: str) -> dict[str, str]:
    paths = os.pathsep.join(map(str, (Path(vicinal.__file__).parents[1], WORKER.parent)))
    return {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **extra}


class Worker:
    """A process that prints a line for each thing that it has done: a verb of worker.py, or any code."""

    running: ClassVar[list[Worker]] = []

    def __init__(self, verb: str, *arguments: object, code: str | None = None, **extra: str) -> None:
        program = [str(WORKER), verb] if code is None else ["-c", code]
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**extra),
        )
        self.lines: list[str] = []
        self.running.append(self)

    def line(self) -> str:
        """Return the next line; fail with the worker's own error where it ended instead."""
        assert self.process.stdout is not None
        found = self.process.stdout.readline()
        if not found:
            _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
            pytest.fail(f"the worker ended with {self.process.returncode}:\n{errors}")
        self.lines.append(found.strip())
        return self.lines[-1]

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def finish(self) -> list[str]:
        """Wait for a good end and return all lines."""
        try:
            out, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            self.process.kill()
        assert self.process.returncode == 0, errors
        self.errors = errors
        return self.lines + out.splitlines()

    def end(self, number: int = signal.SIGKILL) -> list[str]:
        """Send a signal, wait for the end, and return all lines."""
        self.process.send_signal(number)
        out, self.errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.lines + [line for line in out.splitlines(keepends=True) if line.endswith("\n")]

    def killed_after(self, chance: random.Random, low: float, high: float) -> list[str]:
        """Kill it at some moment after its first line; return what it had printed."""
        self.line()
        time.sleep(chance.uniform(low, high))
        assert self.process.poll() is None, self.process.communicate()[1]
        return self.end()


@contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a small disk of its own at `place`; skips the test where that is not allowed."""
    place.mkdir(exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(place)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small disk: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S607


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)  # noqa: S607


WITHOUT_RIGHTS = """
import os, sys, vicinal
with vicinal.connect(":memory:") as db:  # loads what an ordinary user may not be able to read
    docs = db.collection("docs", dim=2)
    docs.add(ids=["a"], vectors=[[1, 2]], metadata=[{"x": 1}])
    docs.search([1, 2], where="x >= 1")
    docs.get(include=("metadata", "vector"))
    db.verify()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


@contextmanager
def public_directory() -> Iterator[Path]:
    """Give a directory that every user may read; skips where this process is not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory(prefix="vicinal-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run_python(code: str, *arguments: object, flags: tuple[str, ...] = (), **extra: str) -> Any:
    """Run Python code in a fresh process and return how it ended."""
    return subprocess.run(
        [sys.executable, *flags, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment(**extra),
        check=False,
    )
