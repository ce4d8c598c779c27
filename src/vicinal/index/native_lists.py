"""The typed door to faiss's k-means and inverted lists; see `native` for the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vicinal.index.native import _faiss, _quantizer, _Threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ListedFastScan", "nearest_centroids", "train_centroids"]


def train_centroids(rows: NDArray[np.float32], n_lists: int, *, iterations: int, seed: int) -> NDArray[np.float32]:
    """Return centroids (n_lists, dim) of finite rows (n >= n_lists, dim) by k-means, squared distances.

    The same input gives the same output. One thread, but for matrix products.
    """
    faiss = _faiss()
    dim = rows.shape[1]
    clustering = faiss.Clustering(dim, n_lists)
    clustering.niter = iterations
    clustering.seed = seed
    clustering.min_points_per_centroid = 1  # below it faiss writes to stderr
    clustering.max_points_per_centroid = 1 << 30
    index = faiss.IndexFlatL2(dim)
    with _Threads(1):
        clustering.train(np.ascontiguousarray(rows), index)
    centroids: NDArray[np.float32] = faiss.vector_to_array(clustering.centroids)
    return centroids.reshape(n_lists, dim)


def nearest_centroids(rows: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return which of centroids (n_lists, dim) is nearest to each row (n, dim), by squared distance."""
    faiss = _faiss()
    index = faiss.IndexFlatL2(centroids.shape[1])
    with _Threads(1):
        index.add(np.ascontiguousarray(centroids))
        nearest: NDArray[np.int64] = index.search(np.ascontiguousarray(rows), 1)[1][:, 0]
    return nearest


class ListedFastScan:
    """4-bit codes by list, in the layout that SIMD registers scan; immutable, shared by threads.

    `rows` and `codes` (n, m / 2) are sorted by list, and `offsets` (n_lists + 1) tells where lists begin.
    """

    __slots__ = ("_coarse", "_index")

    def __init__(
        self,
        centroids: NDArray[np.float32],
        codes: NDArray[np.uint8],
        rows: NDArray[np.int64],
        offsets: NDArray[np.int64],
        *,
        l2: bool,
    ) -> None:
        faiss = _faiss()
        m, _, width = centroids.shape
        metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
        n_lists = len(offsets) - 1
        self._coarse = faiss.IndexFlat(m * width, metric)  # never asked: callers choose the lists
        plain = faiss.IndexIVFPQ(self._coarse, m * width, n_lists, m, 4, metric)
        plain.by_residual = False
        plain.pq = _quantizer(centroids, 4)
        plain.is_trained = True
        for number in range(n_lists):
            start, stop = int(offsets[number]), int(offsets[number + 1])
            if start < stop:
                plain.invlists.add_entries(
                    number, stop - start, faiss.swig_ptr(rows[start:stop]), faiss.swig_ptr(codes[start:stop])
                )
        plain.ntotal = len(codes)
        self._index = faiss.IndexIVFPQFastScan(plain)
        self._index.orig_invlists = None

    def nearest(
        self, query: NDArray[np.float32], k: int, lists: NDArray[np.int64], bits: NDArray[np.uint8] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return inner products or squared distances, and rows, of one query (1, dim), both (at most k,), best first.

        `lists` are the numbers of distinct lists to scan. `bits`: see `native.MaskedFastScan`.
        """
        faiss = _faiss()
        pointer = faiss.swig_ptr
        values, rows = np.empty(k, np.float32), np.empty(k, np.int64)
        parameters = faiss.IVFSearchParameters(nprobe=len(lists))
        if bits is not None:
            chosen = faiss.IDSelectorBitmap(bits)
            parameters = faiss.IVFSearchParameters(nprobe=len(lists), sel=chosen)
        near = np.zeros(len(lists), np.float32)  # what residuals would need
        with _Threads(1):
            self._index.search_preassigned_c(
                1, pointer(query), k, pointer(lists), pointer(near),
                pointer(values), pointer(rows), False, parameters,
            )  # fmt: skip
        found = rows >= 0
        return (values, rows) if found.all() else (values[found], rows[found])
