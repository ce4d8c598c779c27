"""The typed door to faiss: every call into the native library goes through here.

faiss is imported on first use (about 0.2 s), so that `import vicinal` and exact searches
over f32 cosine, dot and l2 never pay for it. The functions take and return NumPy arrays,
release the GIL while they run, and use one thread, but for L1 of more than ten queries (OpenMP).

faiss offers no "distance of one query to every f16 or int8 row" in Python. The scanner of its
scalar quantiser does exactly that through a range search with an infinite radius: it walks the
caller's memory (nothing is copied into an index), decodes in registers and reports every row.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vicinal.index.scratch import scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CodeScanner", "CodeType", "hamming_distances", "l1_distances", "l2_squared"]

CodeType = Literal["f16", "i8", "u8"]
"""How rows are read: IEEE half floats, int8 stored as `value + 128`, or uint8."""

ALIGNMENT = 16
"""Elements per row must be a multiple of this for the vectorised scanner kernels."""


@cache
def _faiss() -> Any:  # noqa: ANN401 - faiss has no types; they end in this module
    import faiss  # noqa: PLC0415 - a fifth of a second that most processes need not spend

    return faiss


def l2_squared(query: NDArray[np.float32], rows: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the squared Euclidean distances (n,) of direct float32 differences into `out`."""
    faiss = _faiss()
    pointer = faiss.swig_ptr
    faiss.fvec_L2sqr_ny(pointer(out), pointer(query), pointer(rows), rows.shape[1], len(rows))


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
