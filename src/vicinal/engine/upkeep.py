"""What is made of vectors in the background: codes first, then graphs and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vicinal.engine.codes.coder import Coder
    from vicinal.engine.structures.builder import Builder


class Upkeep:
    """Brings what is derived up to date, one step at a time."""

    def __init__(self, coder: Coder, builder: Builder) -> None:
        self._coder = coder
        self._builder = builder

    def tend(self, *, resting: bool, beside_codes: bool, building: bool = True) -> bool:
        """Do one step, the building of a whole index included; return whether there may be more.

        building: False for codes alone: what is built while much is being added is soon out of date.
        resting: while building, leave the processor to others for as long as it works. beside_codes: also build
        graphs that nobody chose, which takes minutes. Raises Locked where another process writes.
        """
        if self._coder.tend(waiting=not resting):
            return True
        return building and self._builder.tend(resting=resting, beside_codes=beside_codes)

    def stop(self) -> None:
        """Give up the index being built, and build none any more."""
        self._builder.stop()
