"""The typed door to faiss: every call into the native library goes through here.

faiss is imported on first use (about 0.2 s), so that `import vicinal` and exact searches
over f32 cosine, dot and l2 never pay for it. The functions take and return NumPy arrays,
release the GIL while they run, and use one thread, but for L1 of more than ten queries (OpenMP).
Threads are ours: OpenMP's spin when the processor is busy (training measured ten times slower with
two than with one), so whatever would use them runs inside `_Threads`.

faiss offers no "distance of one query to every f16 or int8 row" in Python. The scanner of its
scalar quantiser does exactly that through a range search with an infinite radius: it walks the
caller's memory (nothing is copied into an index), decodes in registers and reports every row.

FastScan has several loops. The default is best while codes stay in the processor's cache, and for
up to 96 groups; streaming 128 groups from memory it reaches half the speed of loop 15 (faiss's
`implem`; 11 where rows are selected): 1,000,000 rows in 4.5 and 2.2 ms.

Of faiss's 4-bit indexes the flat one is the fastest but refuses selectors; the inverted-file one
with a single list takes them. Both are built through their converting constructors: `add_sa_codes`
of the latter corrupts the heap (1.15.1). Nothing here checks what it is given: callers do.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vicinal.index.scratch import scratch
from vicinal.index.workers import in_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CodeScanner",
    "CodeType",
    "FastScan",
    "MaskedFastScan",
    "ProductCodes",
    "hamming_distances",
    "l1_distances",
    "l2_squared",
    "largest_products",
    "sums_of_bytes",
    "train_product",
    "values_at",
]

CodeType = Literal["f16", "i8", "u8"]
"""How rows are read: IEEE half floats, int8 stored as `value + 128`, or uint8."""

ALIGNMENT = 16
"""Elements per row must be a multiple of this for the vectorised scanner kernels."""


_of_thread = threading.local()


@cache
def _faiss() -> Any:  # noqa: ANN401 - faiss has no types; they end in this module
    import faiss  # noqa: PLC0415 - a fifth of a second that most processes need not spend

    return faiss


class _Threads:
    """Keep faiss from starting more OpenMP threads than these; the setting belongs to the calling thread."""

    __slots__ = ("_before", "_threads")

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> None:
        faiss = _faiss()
        self._before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(self._threads)

    def __exit__(self, *_: object) -> None:
        _faiss().omp_set_num_threads(self._before)


def l2_squared(query: NDArray[np.float32], rows: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the squared Euclidean distances (n,) of direct float32 differences into `out`."""
    faiss = _faiss()
    pointer = faiss.swig_ptr
    faiss.fvec_L2sqr_ny(pointer(out), pointer(query), pointer(rows), rows.shape[1], len(rows))


def values_at(
    queries: NDArray[np.float32],
    rows: NDArray[np.float32],
    positions: NDArray[np.int64],
    out: NDArray[np.float32],
    *,
    l2: bool,
) -> None:
    """Write inner products or squared distances of queries (nq, d) and the rows at each one's positions (nq, n).

    Nothing is copied. All arrays are contiguous.
    """
    faiss = _faiss()
    pointer = faiss.swig_ptr
    compare = faiss.fvec_L2sqr_by_idx if l2 else faiss.fvec_inner_products_by_idx
    with _Threads(1):  # it would wake a second thread for even one query, and wait for it to come and go
        compare(pointer(out), pointer(queries), pointer(rows), pointer(positions), rows.shape[1], *positions.shape)


def largest_products(
    queries: NDArray[np.float32], rows: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the k largest inner products of each query (nq, d) with rows (n, d), and their rows: (nq, k) each.

    Largest first; rows that there are not are -1. A matrix product and the choice among it, a thousand rows at a
    time, in the calling thread alone. Products are finite.
    """
    faiss = _faiss()
    with _Threads(1), _matrix_products:
        products, positions = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
    return products, positions


class _MatrixProducts:
    """Have faiss use matrix products for batches while any thread is inside.

    The setting belongs to the process, and is put back: without it products are computed one by one, which takes
    ten times as long. Whoever uses faiss meanwhile gets the same results but for the last digit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = _faiss().cvar.distance_compute_blas_threshold
                _faiss().cvar.distance_compute_blas_threshold = 1
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                _faiss().cvar.distance_compute_blas_threshold = self._before


_matrix_products = _MatrixProducts()


def l1_distances(queries: NDArray[np.float32], rows: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the L1 distances (nq, n) of direct float32 differences into `out`."""
    faiss = _faiss()
    pointer = faiss.swig_ptr
    faiss.pairwise_extra_distances(
        rows.shape[1], len(queries), pointer(queries), len(rows), pointer(rows),
        faiss.METRIC_L1, 0.0, pointer(out),
    )  # fmt: skip


def hamming_distances(queries: NDArray[np.uint8], rows: NDArray[np.uint8], out: NDArray[np.int32]) -> None:
    """Write the number of differing bits (nq, n) into `out`; the width is a multiple of 8 bytes."""
    faiss = _faiss()
    pointer = faiss.swig_ptr
    faiss.hammings(pointer(queries), pointer(rows), len(queries), len(rows), rows.shape[1], pointer(out))


class CodeScanner:
    """Inner products or squared L2 distances of one float32 query to encoded rows.

    One object serves one thread. The width of query and rows is a multiple of `ALIGNMENT`.
    """

    __slots__ = ("_everything", "_quantizer", "_query", "_result", "_scanner")

    def __init__(self, code: CodeType, query: NDArray[np.float32], *, l2: bool = False) -> None:
        faiss = _faiss()
        kind = {
            "f16": faiss.ScalarQuantizer.QT_fp16,
            "i8": faiss.ScalarQuantizer.QT_8bit_direct_signed,
            "u8": faiss.ScalarQuantizer.QT_8bit_direct,
        }[code]
        metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
        # The scanner keeps raw pointers to both: they live as long as this object.
        self._query = np.ascontiguousarray(query, np.float32)
        self._quantizer = faiss.ScalarQuantizer(len(query), kind)
        # store_pairs: labels are offsets, so no array of ids is read.
        self._scanner = self._quantizer.select_InvertedListScanner(metric, None, True, None, False)
        if not l2:  # under L2 it would ask the absent coarse quantiser for a residual
            self._scanner.set_list(0, 0.0)
        self._scanner.set_query(faiss.swig_ptr(self._query))
        self._result = faiss.RangeSearchResult(1)
        self._everything = float("inf") if l2 else float("-inf")

    def scan(self, rows: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Write the value of every row of `rows` (n, row bytes) into `out`; NaN if it overflowed.

        Few and long calls: each one releases and retakes the interpreter's lock.
        """
        faiss = _faiss()
        n = len(rows)
        self._result.buffer_size = n + 1
        partial = faiss.RangeSearchPartialResult(self._result)
        found = partial.new_result(0)
        self._scanner.scan_codes_range(n, faiss.swig_ptr(rows), None, self._everything, found)
        labels = scratch("labels", (n,), np.int64)
        count = int(found.nres)
        partial.copy_range(0, count, faiss.swig_ptr(labels), faiss.swig_ptr(out))
        if count != n:  # rows at infinity or NaN are not reported
            values = out[:count].copy()
            out[:n] = np.nan
            out[labels[:count] & 0xFFFFFFFF] = values  # a label is list number << 32 | offset


def sums_of_bytes(rows: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Write the sum of every row of `rows` (n, width), below 2**24, into `out` (n,)."""
    kept: dict[str, CodeScanner] = _of_thread.__dict__
    width = rows.shape[1]
    if str(width) not in kept:  # to make one takes as long as to scan 500 rows
        kept[str(width)] = CodeScanner("u8", np.ones(width, np.float32))
    kept[str(width)].scan(rows, out)


def train_product(
    rows: NDArray[np.float32], m: int, *, iterations: int, seed: int, threads: int = 1
) -> NDArray[np.float32]:
    """Return centroids (m, 16, dim / m) of a 4-bit product quantiser: k-means per sub-space.

    `rows` (n >= 16, dim) are finite, and m divides dim. The same input gives the same output, whatever
    the number of threads that share the sub-spaces.
    """
    width = rows.shape[1] // m
    parts = [part for part in np.array_split(np.arange(m), max(1, threads)) if len(part)]

    def train(part: NDArray[np.int64]) -> NDArray[np.float32]:
        columns = np.ascontiguousarray(rows[:, part[0] * width : (part[-1] + 1) * width])
        return _train_some(columns, len(part), iterations, seed)

    return np.concatenate(in_threads(train, parts, len(parts)))


def _train_some(rows: NDArray[np.float32], m: int, iterations: int, seed: int) -> NDArray[np.float32]:
    faiss = _faiss()
    dim = rows.shape[1]
    quantizer = faiss.ProductQuantizer(dim, m, 4)
    parameters = quantizer.cp
    parameters.niter = iterations
    parameters.seed = seed
    parameters.min_points_per_centroid = 1  # below it faiss writes to stderr
    parameters.max_points_per_centroid = 1 << 30
    with _Threads(1):
        quantizer.train(rows)
    centroids: NDArray[np.float32] = faiss.vector_to_array(quantizer.centroids)
    return centroids.reshape(m, 16, dim // m)


def _quantizer(centroids: NDArray[np.float32], bits: int) -> Any:  # noqa: ANN401
    faiss = _faiss()
    m, _, width = centroids.shape
    quantizer = faiss.ProductQuantizer(m * width, m, bits)
    faiss.copy_array_to_vector(np.ascontiguousarray(centroids).ravel(), quantizer.centroids)
    return quantizer


class ProductCodes:
    """Codes of a product quantiser outside any index; immutable, shared by threads.

    Two 4-bit sub-quantisers side by side are one of 8 bits with the 256 pairs of their centroids:
    their packed codes are codes of that one byte for byte, and faiss scans those eight times
    faster than 4-bit codes without FastScan.
    """

    __slots__ = ("_encoder", "_pairs")

    def __init__(self, centroids: NDArray[np.float32]) -> None:
        m, size, width = centroids.shape
        self._encoder = _quantizer(centroids, 4)
        self._encoder.sync_transposed_centroids()  # encodes 1.3 to 1.6 times as fast
        pairs = np.empty((m // 2, size, size, 2 * width), np.float32)
        pairs[..., :width] = centroids[0::2, None, :, :]  # the low half of a byte
        pairs[..., width:] = centroids[1::2, :, None, :]
        self._pairs = _quantizer(pairs.reshape(m // 2, size * size, 2 * width), 8)

    def encode(self, rows: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return packed codes (n, m / 2)."""
        with _Threads(1):
            codes: NDArray[np.uint8] = self._encoder.compute_codes(rows)
        return codes

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vectors (n, dim) that codes stand for."""
        with _Threads(1):
            rows: NDArray[np.float32] = self._encoder.decode(codes)
        return rows

    def nearest(
        self, queries: NDArray[np.float32], codes: NDArray[np.uint8], k: int, *, l2: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return inner products or squared distances, and rows of `codes`, both (nq, k), best first.

        Cost: 0.5 ns per byte of code and 10 us for tables per query.
        """
        faiss = _faiss()
        values = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        heap = faiss.float_maxheap_array_t() if l2 else faiss.float_minheap_array_t()
        heap.nh, heap.k = len(queries), k
        pointer = faiss.swig_ptr
        heap.val, heap.ids = pointer(values), pointer(rows)
        search = self._pairs.search if l2 else self._pairs.search_ip
        if len(queries) == 1:
            search(pointer(queries), 1, pointer(codes), len(codes), heap, True)
        else:
            with _Threads(1):
                search(pointer(queries), len(queries), pointer(codes), len(codes), heap, True)
        return values, rows


class FastScan:
    """4-bit codes in the layout that SIMD registers scan; immutable, shared by threads."""

    __slots__ = ("_index",)

    def __init__(
        self, centroids: NDArray[np.float32], codes: NDArray[np.uint8], *, l2: bool, streams: bool = False
    ) -> None:
        faiss = _faiss()
        m, _, width = centroids.shape
        metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
        plain = faiss.IndexPQ(m * width, m, 4, metric)
        plain.pq = _quantizer(centroids, 4)
        plain.is_trained = True
        faiss.copy_array_to_vector(codes.ravel(), plain.codes)
        plain.ntotal = len(codes)
        self._index = faiss.IndexPQFastScan(plain)
        self._index.orig_codes = None
        self._index.implem = 15 if streams else 0

    def nearest(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return inner products or squared distances, and rows, both (nq, k), best first.

        Rows are -1 where faiss found none: it passes over rows at the very end of its 16-bit scale.
        """
        values = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        pointer = _faiss().swig_ptr
        if len(queries) == 1:
            self._index.search_c(1, pointer(queries), k, pointer(values), pointer(rows))
        else:
            with _Threads(1):
                self._index.search_c(len(queries), pointer(queries), k, pointer(values), pointer(rows))
        return values, rows


class MaskedFastScan:
    """The same scan, reporting only rows whose bit is set; immutable, shared by threads."""

    __slots__ = ("_index", "_list")

    def __init__(
        self, centroids: NDArray[np.float32], codes: NDArray[np.uint8], *, l2: bool, streams: bool = False
    ) -> None:
        faiss = _faiss()
        m, _, width = centroids.shape
        metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
        self._list = faiss.IndexFlat(m * width, metric)
        self._list.add(np.zeros((1, m * width), np.float32))
        plain = faiss.IndexIVFPQ(self._list, m * width, 1, m, 4, metric)
        plain.by_residual = False
        plain.pq = _quantizer(centroids, 4)
        plain.is_trained = True
        rows = np.arange(len(codes))
        plain.invlists.add_entries(0, len(codes), faiss.swig_ptr(rows), faiss.swig_ptr(codes))
        plain.ntotal = len(codes)
        self._index = faiss.IndexIVFPQFastScan(plain)
        self._index.orig_invlists = None
        self._index.implem = 11 if streams else 0

    def nearest(
        self, query: NDArray[np.float32], k: int, bits: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return values and rows (1, k) of one query (1, dim), as `FastScan.nearest` does.

        `bits` is one bit per row, the first in the lowest bit of the first byte.
        """
        faiss = _faiss()
        pointer = faiss.swig_ptr
        values = np.empty((1, k), np.float32)
        rows = np.empty((1, k), np.int64)
        chosen = faiss.IDSelectorBitmap(bits)
        parameters = faiss.IVFSearchParameters(sel=chosen, nprobe=1)
        self._index.search_c(1, pointer(query), k, pointer(values), pointer(rows), parameters)
        return values, rows
