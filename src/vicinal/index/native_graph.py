"""The typed door to faiss's graphs (HNSW) over 8-bit codes; see `native` for the rules.

faiss reads neither vectors nor links of its own here: both are views of NumPy arrays that the
objects below keep alive, so nothing is held twice. Nothing here checks what it is given: a link out
of range, or to a row that lacks the level, is read beyond the arrays. `links` checks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.index.native import ALIGNMENT, _faiss, _Threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ByteCoder", "GrowingGraph", "SearchedGraph", "most_levels"]


def most_levels(m: int) -> int:
    """Return how many levels (from 1) a row can have in faiss's graphs of this M."""
    graph = _faiss().HNSW(m)  # named: its vectors die with it
    return int(graph.cum_nneighbor_per_level.size()) - 1


class ByteCoder:
    """Eight bits per dimension, 256 equal steps from `low` over `span`, both (dim,) float32.

    Codes (n, `width`) are padded to a multiple of 16 dimensions, which the fast kernels need.
    Immutable, shared by threads.
    """

    __slots__ = ("_encoder", "_l2", "_trained", "dim", "width")

    def __init__(self, low: NDArray[np.float32], span: NDArray[np.float32], *, l2: bool) -> None:
        self.dim = len(low)
        self.width = -(-self.dim // ALIGNMENT) * ALIGNMENT
        self._l2 = l2
        trained = np.zeros((2, self.width), np.float32)
        trained[0, : self.dim] = low
        trained[1, : self.dim] = span
        self._trained = trained.ravel()
        self._encoder = self.storage()

    def storage(self, codes: NDArray[np.uint8] | None = None) -> Any:  # noqa: ANN401
        """Return a faiss index that reads `codes` (n, width) where they are; the caller keeps them alive."""
        faiss = _faiss()
        metric = faiss.METRIC_L2 if self._l2 else faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexScalarQuantizer(self.width, faiss.ScalarQuantizer.QT_8bit, metric)
        faiss.copy_array_to_vector(self._trained, index.sq.trained)
        index.is_trained = True
        if codes is not None and codes.size:
            view = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.size, index.codes.owner)
            index.codes = view
            index.ntotal = len(codes)
        return index

    def padded(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows (n, width), contiguous, zeros beyond their dimensions."""
        if rows.shape[1] == self.width:
            return np.ascontiguousarray(rows)
        wide = np.zeros((len(rows), self.width), np.float32)
        wide[:, : self.dim] = rows
        return wide

    def encode(self, rows: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return codes (n, width) of finite rows (n, dim); what lies outside the steps is cut off."""
        with _Threads(1):
            codes: NDArray[np.uint8] = self._encoder.sa_encode(self.padded(rows))
        return codes

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rows (n, dim) that codes stand for."""
        with _Threads(1):
            rows: NDArray[np.float32] = self._encoder.sa_decode(np.ascontiguousarray(codes))
        return rows[:, : self.dim]

    def nearest(
        self, query: NDArray[np.float32], codes: NDArray[np.uint8], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Compare one query (1, dim) with all of `codes`: squared distances or products, and rows, both (k,).

        Best first; k is at most the number of codes. Cost at 256 dimensions: 18 ns per row.
        """
        index = self.storage(codes)
        values, rows = np.empty(k, np.float32), np.empty(k, np.int64)
        pointer = _faiss().swig_ptr
        query = self.padded(query)
        with _Threads(1):  # unlike the walk, it would share out the rows of even one query
            index.search_c(1, pointer(query), k, pointer(values), pointer(rows))
        return values, rows


class GrowingGraph:
    """A graph that rows are added to; for one thread at a time."""

    __slots__ = ("_coder", "_index", "_storage")

    def __init__(self, coder: ByteCoder, m: int, ef_construction: int) -> None:
        self._coder = coder
        self._storage = coder.storage()
        self._index = _faiss().IndexHNSW(self._storage, m)
        self._index.hnsw.efConstruction = ef_construction

    def add(self, rows: NDArray[np.float32], threads: int) -> None:
        """Add finite rows (n, dim), with up to `threads` OpenMP threads; the GIL is released."""
        rows = self._coder.padded(rows)
        with _Threads(threads):
            self._index.add_c(len(rows), _faiss().swig_ptr(rows))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def codes(self) -> NDArray[np.uint8]:
        """Return a copy of the codes (n, width)."""
        copied: NDArray[np.uint8] = _faiss().vector_to_array(self._storage.codes)
        return copied.reshape(-1, self._coder.width)

    def structure(self) -> tuple[NDArray[np.int32], NDArray[np.uint8], int]:
        """Return links as faiss lays them out (see `links`), the number of levels of each row, the entry point."""
        faiss, graph = _faiss(), self._index.hnsw
        levels = faiss.vector_to_array(graph.levels).astype(np.uint8)
        return faiss.vector_to_array(graph.neighbors), levels, int(graph.entry_point)


@lru_cache(maxsize=64)
def _walking(ef: int) -> Any:  # noqa: ANN401 - as everything of faiss's
    """Return faiss's parameters of a walk, which are read alone."""
    return _faiss().SearchParametersHNSW(efSearch=ef)


class SearchedGraph:
    """A complete graph over codes; immutable as long as its arrays are, shared by threads.

    `slots` (int32), `offsets` (n + 1), `levels` (n,) and `entry` are those of `links.Links`.
    """

    __slots__ = ("_coder", "_index", "_kept")

    def __init__(  # noqa: PLR0913, PLR0917 - a graph is all of these
        self,
        coder: ByteCoder,
        codes: NDArray[np.uint8],
        m: int,
        slots: NDArray[np.int32],
        offsets: NDArray[np.int64],
        levels: NDArray[np.uint8],
        entry: int,
    ) -> None:
        faiss = _faiss()
        storage = coder.storage(codes)
        index = faiss.IndexHNSW(storage, m)
        graph = index.hnsw
        graph.neighbors = faiss.MaybeOwnedVectorInt32.create_view(
            faiss.swig_ptr(slots), slots.size, graph.neighbors.owner
        )
        faiss.copy_array_to_vector(offsets.astype(np.uint64), graph.offsets)
        faiss.copy_array_to_vector(levels.astype(np.int32), graph.levels)
        graph.max_level = int(levels[entry]) - 1
        graph.entry_point = entry
        index.ntotal = len(codes)
        self._kept = (codes, slots, storage)
        self._coder = coder
        self._index = index

    def nearest(
        self, query: NDArray[np.float32], k: int, ef: int, bits: NDArray[np.uint8] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return squared distances or products, and rows, of one query (1, dim), both (at most k,), best first.

        With `bits`, one per row and the first in the lowest bit of the first byte, only rows whose
        bit is set are reported; the walk itself passes over all.
        """
        faiss = _faiss()
        pointer = faiss.swig_ptr
        values, rows = np.empty(k, np.float32), np.empty(k, np.int64)
        query = self._coder.padded(query)
        if bits is None:
            parameters = _walking(ef)
        else:
            chosen = faiss.IDSelectorBitmap(bits)
            parameters = faiss.SearchParametersHNSW(efSearch=ef, sel=chosen)
        self._index.search_c(1, pointer(query), k, pointer(values), pointer(rows), parameters)
        if rows[-1] >= 0:
            return values, rows
        found = rows >= 0
        return values[found], rows[found]
