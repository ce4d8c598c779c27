"""The quantised scan, backbone of approximate search: codes and a mask in, likely neighbours out.

A query is compared with the 4-bit code of every row (see `codebook`), 32 rows at once (FastScan);
the caller re-ranks what comes back by exact distances (`reranking`). Measured, one thread, per
million rows at m groups: 0.013 ms * m, plus 0.09 us per candidate.

**Masks.** The kernel that is fastest takes no mask. One of three plans is chosen per query, by the
cost that the constants below predict:

* *direct*: few rows pass: their codes are copied out and looked up one by one;
* *over-fetch*: more candidates than asked, of which enough pass. How many is read off a 1/16 sample
  of the rows scanned first, so filters that agree or disagree with the query are noticed;
* *selective*: a second copy of the codes, made when first needed, in a layout whose kernel tests
  rows against a bitmap: slower, but it needs no luck.

Whatever the plan, returned positions pass the mask, and min(depth, passing) come back.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import Corrupted, InvalidInput, shorten
from vicinal.index import native
from vicinal.index.scratch import scratch
from vicinal.index.workers import in_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicinal.index.codebook import Codebook

__all__ = ["CodeSegment", "scan_segments", "scan_segments_batch"]

Candidates = tuple["NDArray[np.int64]", "NDArray[np.float32]"]

_SAMPLE_STEP = 16
_SAMPLED_ROWS = 1 << 16
"""Segments from this size keep a sample; in smaller ones a wrong guess costs little."""
_SAFETY = 1.25
_CACHE_BYTES = 28 << 20
_CACHED_GROUPS = 120
"""More groups than this, and more bytes, are scanned by the loop made for streaming (see `native`)."""

_DIRECT_ROWS = 1 << 16
"""Codes copied out at once: they are compared while still in the cache."""

# Costs in microseconds, measured on one AVX-512 core, codes not in its cache; only their ratios matter.
_CALL = 25.0
_SCAN_PER_BYTE = 2.4e-5
_FETCH_PER_CANDIDATE = 0.11
_DIRECT_PER_ROW, _DIRECT_PER_BYTE = 0.023, 0.0004
# What testing the mask adds per row, by the share that passes: processors mispredict rare hits.
_SELECT_SHARES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0)
_SELECT_PER_ROW = (0.0008, 0.0028, 0.0038, 0.0023, 0.0013, 0.0010, 0.0007, 0.0005)


class CodeSegment:
    """An immutable run of coded rows; threads may search one object at the same time.

    `codes` (n, m / 2) are those of `codebook.encode`; they are kept (not copied if C-contiguous), and
    the scan's layout is made beside them: 50 ms per million rows of 32 bytes. `first` is the
    position of the first row. `streams` says that scans will read codes from memory rather than from
    the processor's cache, because the segments together are larger; by default the size of this
    one decides. Code distances are comparable among segments of one codebook.
    """

    __slots__ = ("_codes", "_fast", "_lock", "_sample", "_selective", "_streams", "codebook", "first")

    def __init__(
        self, codebook: Codebook, codes: NDArray[np.uint8], first: int = 0, *, streams: bool | None = None
    ) -> None:
        if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8:
            raise Corrupted(f"codes must be a uint8 array, found {getattr(codes, 'dtype', None) or shorten(codes)}")
        if codes.ndim != 2 or codes.shape[1] != codebook.code_bytes:
            raise Corrupted(f"codes must have shape (n, {codebook.code_bytes}), found {codes.shape}")
        self.first = first
        self.codebook = codebook
        self._codes = np.ascontiguousarray(codes)
        self._lock = threading.Lock()
        self._selective: native.MaskedFastScan | None = None
        large = codes.nbytes >= _CACHE_BYTES if streams is None else streams
        self._streams = large and codebook.m > _CACHED_GROUPS
        self._fast = native.FastScan(codebook.centroids, self._codes, l2=codebook.l2, streams=self._streams)
        self._sample: native.FastScan | None = None
        if len(codes) >= _SAMPLED_ROWS:
            sample = np.ascontiguousarray(self._codes[::_SAMPLE_STEP])
            self._sample = native.FastScan(codebook.centroids, sample, l2=codebook.l2)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The plain codes (n, m / 2), read-only."""
        view = self._codes.view()
        view.flags.writeable = False
        return view

    @property
    def nbytes(self) -> int:
        """Memory held: codes, their layout, the sample, and the second layout once it is there."""
        n, own = len(self._codes), self._codes.nbytes
        sample = own // _SAMPLE_STEP if self._sample is not None else 0
        return 2 * own + sample + (own + 8 * n if self._selective is not None else 0)

    def candidates(self, query: NDArray[Any], depth: int, mask: NDArray[np.bool_] | None = None) -> Candidates:
        """Return positions int64 and code distances float32 of the `depth` nearest codes, nearest first.

        `mask` (n,) is true for the rows that may be found; min(depth, passing) come back. A row
        at the end of the scan's 16-bit scale may come with an infinite distance.
        """
        terms = self.codebook.terms(np.asarray(query)[None])
        return self.nearest(terms, depth, mask)

    def nearest(self, terms: NDArray[np.float32], depth: int, mask: NDArray[np.bool_] | None = None) -> Candidates:
        """Do what `candidates` does for `Codebook.terms` of one query (1, padded dim)."""
        n = len(self._codes)
        if mask is not None:
            self._check_mask(mask)
        passing = n if mask is None else int(np.count_nonzero(mask))
        wanted = min(depth, passing)
        if wanted <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if mask is None or passing == n:
            values, rows = self._fast.nearest(terms, wanted)
            found = self._sorted(values[0], rows[0])
        else:
            found = self._masked(terms, wanted, mask, passing)
        rows_found, distances = self._completed(*found, wanted, mask)
        return rows_found + self.first if self.first else rows_found, distances

    def batch(
        self, terms: NDArray[np.float32], depth: int, mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return candidates of several queries, both (nq, min(depth, passing)), nearest first.

        One pass over the codes serves several queries: about twice the speed of one at a time.
        """
        n = len(self._codes)
        if mask is not None:
            self._check_mask(mask)
        passing = n if mask is None else int(np.count_nonzero(mask))
        wanted = max(0, min(depth, passing))
        if not wanted or not len(terms):
            return np.empty((len(terms), wanted), np.int64), np.empty((len(terms), wanted), np.float32)
        if mask is None or passing == n:
            values, rows = self._fast.nearest(terms, wanted)
        elif self._direct_cost(passing) < self._fetch_cost(wanted * n / passing):
            picked = np.flatnonzero(mask)
            values, rows = self.codebook.nearest(terms, self._codes.take(picked, axis=0), wanted)
            rows = np.where(rows >= 0, picked[rows], -1)
        else:
            pairs = [self.nearest(each[None], depth, mask) for each in terms]
            return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
        if not self.codebook.l2:
            np.negative(values, out=values)
        for number in np.flatnonzero((rows < 0).any(axis=1)):
            good = rows[number] >= 0
            rows[number], values[number] = self._completed(rows[number][good], values[number][good], wanted, mask)
        return rows + self.first, values

    def _check_mask(self, mask: NDArray[np.bool_]) -> None:
        if mask.dtype != np.bool_ or mask.shape != (len(self._codes),):
            raise InvalidInput(f"expected a bool mask of shape ({len(self._codes)},), got {mask.dtype} {mask.shape}")

    def _sorted(self, values: NDArray[np.float32], rows: NDArray[np.int64]) -> Candidates:
        """Return rows that faiss found, and distances that are smaller when nearer."""
        if rows[-1] < 0:
            good = rows >= 0
            rows, values = rows[good], values[good]
        return rows, values if self.codebook.l2 else np.negative(values)

    def _completed(
        self, rows: NDArray[np.int64], distances: NDArray[np.float32], wanted: int, mask: NDArray[np.bool_] | None
    ) -> Candidates:
        """Append passing rows that the scan left out, at an infinite distance."""
        missing = wanted - len(rows)
        if not missing:
            return rows, distances
        left = np.ones(len(self._codes), np.bool_) if mask is None else mask.copy()
        left[rows] = False
        others = np.flatnonzero(left)[:missing]
        return np.concatenate([rows, others]), np.concatenate([distances, np.full(missing, np.inf, np.float32)])

    # The three plans.

    def _direct_cost(self, passing: int) -> float:
        return _CALL + passing * (_DIRECT_PER_ROW + _DIRECT_PER_BYTE * self.codebook.code_bytes)

    def _fetch_cost(self, depth: float) -> float:
        scan = len(self._codes) * self.codebook.code_bytes * _SCAN_PER_BYTE
        return _CALL + scan + depth * _FETCH_PER_CANDIDATE

    def _select_cost(self, passing: int) -> float:
        n = len(self._codes)
        return self._fetch_cost(0.0) + n * float(np.interp(passing / n, _SELECT_SHARES, _SELECT_PER_ROW))

    def _masked(self, terms: NDArray[np.float32], wanted: int, mask: NDArray[np.bool_], passing: int) -> Candidates:
        n = len(self._codes)
        fetch = wanted * n / passing * _SAFETY
        direct = self._direct_cost(passing)
        if direct <= self._fetch_cost(fetch):
            return self._direct(terms, wanted, mask)
        others = min(direct, self._select_cost(passing))
        if self._sample is not None:
            spare = max(0.0, others - self._fetch_cost(0.0))
            fetch = _needed(self._sample, terms, wanted, mask[::_SAMPLE_STEP], spare / _FETCH_PER_CANDIDATE)
        if fetch < n and self._fetch_cost(fetch) < others:
            values, rows = self._fast.nearest(terms, int(fetch) + _SAMPLE_STEP)
            rows_found, distances = self._sorted(values[0], rows[0])
            good = np.flatnonzero(mask[rows_found])[:wanted]
            if len(good) == wanted:
                return rows_found[good], distances[good]
        if direct <= others:
            return self._direct(terms, wanted, mask)
        bits = np.packbits(mask, bitorder="little")
        values, rows = self._selector().nearest(terms, wanted, bits)
        return self._sorted(values[0], rows[0])

    def _direct(self, terms: NDArray[np.float32], wanted: int, mask: NDArray[np.bool_]) -> Candidates:
        picked = np.flatnonzero(mask)
        parts = []
        for start in range(0, len(picked), _DIRECT_ROWS):
            part = picked[start : start + _DIRECT_ROWS]
            codes = scratch("direct", (len(part), self._codes.shape[1]), np.uint8)
            self._codes.take(part, axis=0, out=codes, mode="clip")  # without `clip`, `out` is buffered
            values, rows = self.codebook.nearest(terms, codes, min(wanted, len(part)))
            found, distances = self._sorted(values[0], rows[0])
            parts.append((part[found], distances))
        return _merged(parts, wanted)

    def _selector(self) -> native.MaskedFastScan:
        with self._lock:
            if self._selective is None:
                self._selective = native.MaskedFastScan(
                    self.codebook.centroids, self._codes, l2=self.codebook.l2, streams=self._streams
                )
            return self._selective


def _needed(
    sample: native.FastScan, terms: NDArray[np.float32], wanted: int, passes: NDArray[np.bool_], most: float
) -> float:
    """Return how many candidates hold `wanted` passing ones, by a sample of the rows; inf if over `most`."""
    depth = min(max(64, int(most) // _SAMPLE_STEP), len(passes))
    _, rows = sample.nearest(terms, depth)
    reached = np.cumsum(passes[rows[0]])
    enough = wanted * _SAFETY / _SAMPLE_STEP + 4.0
    if reached[-1] < enough:
        return np.inf
    return float((np.searchsorted(reached, enough) + 1) * _SAMPLE_STEP)


def _merged(parts: Sequence[Candidates], depth: int) -> Candidates:
    """Return the `depth` nearest of several lists of candidates."""
    if len(parts) == 1:
        return parts[0]
    positions = np.concatenate([part[0] for part in parts])
    distances = np.concatenate([part[1] for part in parts])
    order = np.argsort(distances, kind="stable")[: max(0, depth)]
    return positions[order], distances[order]


def scan_segments(
    segments: Sequence[CodeSegment],
    query: NDArray[Any],
    depth: int,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    *,
    threads: int = 1,
) -> Candidates:
    """Return the `depth` nearest candidates of several segments of one codebook, nearest first.

    Up to `threads` threads share the segments.
    """
    if not segments:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    terms = segments[0].codebook.terms(np.asarray(query)[None])
    each_mask = masks if masks is not None else [None] * len(segments)
    jobs = list(zip(segments, each_mask, strict=True))
    return _merged(in_threads(lambda job: job[0].nearest(terms, depth, job[1]), jobs, threads), depth)


def scan_segments_batch(
    segments: Sequence[CodeSegment],
    queries: NDArray[Any],
    depth: int,
    masks: Sequence[NDArray[np.bool_] | None] | None = None,
    *,
    threads: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return candidates of queries (nq, dim): positions and code distances, both (nq, w).

    w is `depth`, or the number of passing rows where that is less. Threads share the queries.
    """
    if not segments:
        return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    terms = segments[0].codebook.terms(np.asarray(queries))
    each_mask = masks if masks is not None else [None] * len(segments)
    jobs = list(zip(segments, each_mask, strict=True))

    def part(mine: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found = [segment.batch(mine, depth, mask) for segment, mask in jobs]
        if len(found) == 1:
            return found[0]
        positions = np.concatenate([each[0] for each in found], axis=1)
        distances = np.concatenate([each[1] for each in found], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, : max(0, depth)]
        return np.take_along_axis(positions, order, 1), np.take_along_axis(distances, order, 1)

    parts = in_threads(part, np.array_split(terms, max(1, min(threads, len(terms)))), threads)
    return np.concatenate([each[0] for each in parts]), np.concatenate([each[1] for each in parts])
