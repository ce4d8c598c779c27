"""Indexes over vectors: arrays and masks in, positions and distances out. No SQL, no storage.

One contract: distances are smaller when nearer, as `vicinal.vectors.distances` defines them. The
exact scan, `search_flat`, is the twin that approximate indexes are measured against.
"""

from vicinal.index.block import BLOCK_ROWS, Block, row_norms
from vicinal.index.candidates import Hits
from vicinal.index.flat import search_flat

__all__ = ["BLOCK_ROWS", "Block", "Hits", "row_norms", "search_flat"]
