"""Background threads end before the interpreter does.

The interpreter stops daemon threads wherever they are; one inside a C++ library then aborts the process,
after everything is done and with an exit code that says otherwise.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet_at_exit", "stop_at_exit"]


class _Stoppable(Protocol):
    def stop(self) -> None: ...


_running: Final[set[weakref.ref[_Stoppable]]] = set()


def stop_at_exit(thing: _Stoppable) -> None:
    """Call `thing.stop()` when the interpreter ends, should it still exist then."""
    _running.add(weakref.ref(thing, _running.discard))


@contextmanager
def quiet_at_exit() -> Iterator[None]:
    """Leave the block without an error where the interpreter ends: no executor takes work from then on."""
    try:
        yield
    except RuntimeError:
        if threading.main_thread().is_alive():
            raise


@atexit.register
def _stop() -> None:
    with suppress(KeyboardInterrupt):
        for reference in tuple(_running):
            if (thing := reference()) is not None:
                thing.stop()
