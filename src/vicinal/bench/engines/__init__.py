"""The engines that can be measured: one adapter each, behind one protocol."""

from vicinal.bench.engines.catalogue import Entry, chosen, entries
from vicinal.bench.engines.protocol import Engine, Place

__all__ = ["Engine", "Entry", "Place", "chosen", "entries"]
