"""The child process of an engine, seen from its parent: started, listened to, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vicinal.bench.job import Job

__all__ = ["EngineProcess"]

_SOURCE = Path(__file__).parents[2]
# What libraries of linear algebra and parallel loops read when they are loaded.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_PATIENCE_S = 3.0


class EngineProcess:
    """A context manager: the process runs inside, and neither it nor what it started runs after.

    error: after all messages, why the process failed without saying so, or None.
    """

    def __init__(self, job: Job, timeout: float) -> None:
        self._folder = Path(job.folder)
        self._log = self._folder / "log.txt"
        self._timeout, self._late = timeout, False
        path = os.pathsep.join([str(_SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = dict.fromkeys(_THREAD_VARIABLES, str(job.threads))
        environment = {**os.environ, **threads, "PYTHONPATH": path, "PYTHONUTF8": "1"}
        arguments = [sys.executable, "-P", "-m", "vicinal.bench.child", str(job.write())]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
                arguments,
                env=environment,
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends the whole group
            )
        self._timer = threading.Timer(timeout, self._stop_late)
        self._timer.daemon = True
        self._timer.start()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the process says, until it ends."""
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # the last line of a process that was killed may be half of one
                yield json.loads(line)
        self._process.wait()

    @property
    def error(self) -> str | None:
        """Why the process failed, in one line."""
        if self._late:
            return f"stopped after {self._timeout:,.0f} s"
        code = self._process.returncode
        if not code:
            return None
        what = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                what = f"ended by {signal.Signals(-code).name}"
        said = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        return f"{what}: {last}"[:300] if last else what

    def _stop_late(self) -> None:
        self._late = True
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S)
        self._kill()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)

    def _kill(self) -> None:
        """End the group for good: also what outlives its first process, such as a server it started."""
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        # Databases may be as large as the data: gone before the next engine begins.
        shutil.rmtree(self._folder, ignore_errors=True)
