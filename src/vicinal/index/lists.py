"""Inverted lists: rows dealt to the nearest of some centroids; a query looks into the nearest lists.

`Lists` (ivf) compares the rows of those lists exactly (Jégou, Douze, Schmid, "Product quantization
for nearest neighbor search", PAMI 2011, section 4, without codes); `CodedLists` (scann) scans their
4-bit codes, for the caller to re-rank, as ScaNN does (Guo et al., "Accelerating large-scale
inference with anisotropic vector quantization", ICML 2020), though without its loss function.

**Masks.** `nprobe` of `nlist` lists hold some share of all rows. Under a mask, ever farther lists
are looked into until as many passing rows were compared, so that masks do not cost recall; if
fewer pass, all of them are compared. min(depth, passing) rows always come back.

Centroids belong to the field, as codebooks do: segments share them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import Corrupted, InvalidInput
from vicinal.index.native_lists import ListedFastScan, nearest_centroids, train_centroids
from vicinal.index.plain import PlainSpace, named_array, one_number, whole_number
from vicinal.index.reranking import rough_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vicinal.index.codebook import Codebook
    from vicinal.index.reranking import VectorsAt
    from vicinal.vectors import VectorSpec

__all__ = ["MAX_NLIST", "NPROBE_SHARE", "Centroids", "CodedLists", "Lists", "default_nlist"]

Candidates = tuple["NDArray[np.int64]", "NDArray[np.float32]"]

MAX_NLIST = 65_536
NPROBE_SHARE = 0.125
"""By default this share of the lists is looked into."""

_ROWS_PER_CENTROID = 64
_ITERATIONS = 10
_GATHERED_ROWS = 2048
_LARGEST = 2.0**42
_KIND = "lists"


def default_nlist(n: int) -> int:
    """Return how many lists suit n rows: the power of two nearest to the root of 4 n, at most 65,536.

    >>> default_nlist(100_000), default_nlist(0)
    (512, 1)
    """
    return int(min(MAX_NLIST, 2 ** round(math.log2(max(1.0, math.sqrt(4.0 * n))))))


class Centroids:
    """The centroids (nlist, dim) of a field's lists; immutable, shared by threads and segments."""

    __slots__ = ("_halves", "_space", "centroids")

    def __init__(self, space: PlainSpace, centroids: NDArray[np.float32]) -> None:
        self._space = space
        self.centroids = centroids
        self._halves = 0.5 * np.vecdot(centroids, centroids) if space.l2 else np.zeros(len(centroids), np.float32)

    @classmethod
    def train(cls, sample: NDArray[Any], spec: VectorSpec, nlist: int | None = None, *, seed: int = 0) -> Centroids:
        """Return centroids of vectors like `sample` (n, dim), in storage type, by k-means.

        Up to 64 rows per list are used, chosen by `seed`; the same arguments give the same centroids.
        `nlist`, 1 to 65,536 and at most n, is `default_nlist(n)` unless given. Raises InvalidInput.
        Cost: 512 lists of 256 dimensions 0.8 s, growing with the square of nlist.
        """
        space = PlainSpace.of(sample, spec)
        if not len(sample):
            raise InvalidInput("training lists needs at least one vector")
        lists = min(default_nlist(len(sample)), len(sample)) if nlist is None else nlist
        lists = whole_number(lists, "nlist", (1, min(MAX_NLIST, len(sample))))
        rows = space.sample(sample, _ROWS_PER_CENTROID * lists, seed=seed)
        return cls(space, train_centroids(rows, lists, iterations=_ITERATIONS, seed=seed))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `from_arrays` takes: `centroids` (nlist, dim) float32 and `scale` float64."""
        return {"centroids": self.centroids.copy(), "scale": np.array([self._space.scale], np.float64)}

    @classmethod
    def from_arrays(cls, spec: VectorSpec, arrays: Mapping[str, NDArray[Any]]) -> Centroids:
        """Return the centroids that `arrays` came from; raise Corrupted if they cannot be any."""
        space = PlainSpace(spec, one_number(arrays, _KIND, "scale", np.float64, (2.0**-200, 2.0**200)))
        centroids = named_array(arrays, _KIND, "centroids", np.float32, (None, spec.dim))
        if not 1 <= len(centroids) <= MAX_NLIST:
            raise Corrupted(f"{_KIND}: {len(centroids)} centroids, not 1 to {MAX_NLIST}")
        if not (np.abs(centroids) <= _LARGEST).all():
            raise Corrupted(f"{_KIND}: a centroid is not a number in range")
        return cls(space, centroids)

    @property
    def spec(self) -> VectorSpec:
        """What the vectors are."""
        return self._space.spec

    @property
    def nlist(self) -> int:
        """How many lists there are."""
        return len(self.centroids)

    def assign(self, vectors: NDArray[Any]) -> NDArray[np.int32]:
        """Return the list (n,) of each of `vectors` (n, dim), in storage type: that of the nearest centroid.

        Cost at 256 dimensions and 512 lists: 3 us per row, one thread.
        """
        result = np.empty(len(vectors), np.int32)
        step = self._space.step
        for start in range(0, len(vectors), step):
            rows = self._space.rows(vectors[start : start + step])
            result[start : start + step] = nearest_centroids(rows, self.centroids)
        return result

    def ranked(self, query: NDArray[Any]) -> NDArray[np.int64]:
        """Return all lists, the most promising for a query (dim,) first: nearest, or largest product for dot."""
        plain = self._space.query(query)[0]
        return np.argsort(self._halves - np.vecdot(self.centroids, plain))


class _Dealt:
    """Rows by list, and how many of the lists to look into; what both kinds have in common."""

    __slots__ = ("_offsets", "_rows", "_sizes", "centroids", "first")

    def __init__(self, centroids: Centroids, lists: NDArray[np.int32], first: int) -> None:
        if not isinstance(lists, np.ndarray) or lists.dtype != np.int32 or lists.ndim != 1:
            raise Corrupted(f"{_KIND}: the list of each row must be an int32 array of 1 dimension")
        if len(lists) and not 0 <= int(lists.min()) <= int(lists.max()) < centroids.nlist:
            raise Corrupted(f"{_KIND}: a row belongs to none of the {centroids.nlist} lists")
        self.first = first
        self.centroids = centroids
        self._rows: NDArray[np.int64] = np.argsort(lists, kind="stable").astype(np.int64)
        self._sizes = np.bincount(lists, minlength=centroids.nlist)
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def lists(self) -> NDArray[np.int32]:
        """The list of each row (n,): what is persisted, beside the centroids."""
        lists = np.empty(len(self._rows), np.int32)
        lists[self._rows] = np.repeat(np.arange(self.centroids.nlist, dtype=np.int32), self._sizes)
        return lists

    def reach(self, query: NDArray[Any], nprobe: int) -> int:
        """Return how many rows the `nprobe` lists nearest to a query (dim,) hold."""
        return int(self._sizes[self.centroids.ranked(query)[:nprobe]].sum())

    def _passing(self, mask: NDArray[np.bool_] | None) -> int:
        n = len(self._rows)
        if mask is None:
            return n
        if mask.dtype != np.bool_ or mask.shape != (n,):
            raise InvalidInput(f"expected a bool mask of shape ({n},), got {mask.dtype} {mask.shape}")
        return int(np.count_nonzero(mask))

    def _share(self, nprobe: int | None) -> int:
        """Return the number of lists that a search without a mask looks into."""
        if nprobe is None:
            return max(1, math.ceil(self.centroids.nlist * NPROBE_SHARE))
        return min(self.centroids.nlist, whole_number(nprobe, "nprobe", (1, MAX_NLIST)))

    def _of(self, lists: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of some lists."""
        sizes = self._sizes[lists]
        ends = np.cumsum(sizes)
        at = np.arange(int(ends[-1]) if len(ends) else 0)
        rows: NDArray[np.int64] = self._rows[at + np.repeat(self._offsets[lists] - (ends - sizes), sizes)]
        return rows


class Lists(_Dealt):
    """Rows of vectors by list (ivf); immutable, threads may search one object at the same time.

    `lists` (n,) int32 is what `Centroids.assign` returns, or the property of that name. `vectors_at`
    returns the stored vectors at positions, from 0: `array.take` along axis 0, or a read of a file. `first` is the
    position of the first row. Memory: 8 bytes per row. Raises Corrupted for lists out of range.
    """

    __slots__ = ("_vectors_at",)

    def __init__(self, centroids: Centroids, lists: NDArray[np.int32], vectors_at: VectorsAt, first: int = 0) -> None:
        super().__init__(centroids, lists, first)
        self._vectors_at = vectors_at

    @property
    def nbytes(self) -> int:
        """Memory held, without the vectors."""
        return self._rows.nbytes + self._sizes.nbytes + self._offsets.nbytes

    def candidates(
        self,
        query: NDArray[Any],
        depth: int,
        mask: NDArray[np.bool_] | None = None,
        *,
        nprobe: int | None = None,
        vectors_at: VectorsAt | None = None,
    ) -> Candidates:
        """Return positions int64 and values float32 of the `depth` nearest rows of the lists, nearest first.

        `query` is (dim,); `mask` (n,) is true for the rows that may be found: min(depth, passing)
        come back. `nprobe` lists are looked into, an eighth by default; with nlist the answer is
        exact up to the rounding of float32. Values are -cos, -x.q / |q| or squared distances.
        `vectors_at` serves this query instead of the one given at the start. Raises InvalidInput.
        Cost at 256 dimensions: 0.2 us per row compared.
        """
        ranked = self.centroids.ranked(query)
        passing = self._passing(mask)
        wanted = min(depth, passing)
        if wanted <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows = self._chosen(ranked, self._share(nprobe), mask, passing, wanted)
        spec = self.centroids.spec
        parts = [rows[at : at + _GATHERED_ROWS] for at in range(0, len(rows), _GATHERED_ROWS)]
        read = self._vectors_at if vectors_at is None else vectors_at
        values = np.concatenate([rough_values(query, read(part), spec) for part in parts])
        values[np.isnan(values)] = np.inf
        if wanted < len(rows):
            near = np.argpartition(values, wanted - 1)[:wanted]
            rows, values = rows[near], values[near]
        order = np.lexsort((rows, values))
        return rows[order] + self.first, values[order]

    def _chosen(
        self, ranked: NDArray[np.int64], nprobe: int, mask: NDArray[np.bool_] | None, passing: int, wanted: int
    ) -> NDArray[np.int64]:
        """Return the rows to compare: those of `nprobe` lists, or as many that pass."""
        due = max(wanted, int(self._sizes[ranked[:nprobe]].sum()))
        if mask is not None and due >= passing:
            return np.flatnonzero(mask)
        chosen, found = [], 0
        most = nprobe if mask is None else math.ceil(nprobe * len(self._rows) / passing)
        at, stop = 0, min(most, len(ranked))
        while found < due and at < len(ranked):
            rows = self._of(ranked[at:stop])
            chosen.append(rows if mask is None else rows[mask[rows]])
            found += len(chosen[-1])
            at, stop = stop, min(len(ranked), stop + max(1, stop // 4))
        return np.concatenate(chosen)


class CodedLists(_Dealt):
    """4-bit codes by list (scann); immutable, threads may search one object at the same time.

    `codes` (n, m / 2) are those of `codebook.encode`, `lists` (n,) those of `Centroids.assign`, and
    `first` is the position of the first row. Memory: twice the codes and 16 bytes per row.
    """

    __slots__ = ("_codes", "_fast", "codebook")

    def __init__(
        self,
        centroids: Centroids,
        lists: NDArray[np.int32],
        codebook: Codebook,
        codes: NDArray[np.uint8],
        first: int = 0,
    ) -> None:
        super().__init__(centroids, lists, first)
        if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8:
            raise Corrupted(f"{_KIND}: codes must be a uint8 array")
        if codes.shape != (len(lists), codebook.code_bytes):
            raise Corrupted(f"{_KIND}: codes must have shape {(len(lists), codebook.code_bytes)}, found {codes.shape}")
        self.codebook = codebook
        self._codes = np.ascontiguousarray(codes)
        self._fast = ListedFastScan(
            codebook.centroids, self._codes[self._rows], self._rows, self._offsets, l2=codebook.l2
        )

    @property
    def nbytes(self) -> int:
        """Memory held: codes, their layout, and positions."""
        return 2 * self._codes.nbytes + 2 * self._rows.nbytes + self._sizes.nbytes + self._offsets.nbytes

    def candidates(
        self,
        query: NDArray[Any],
        depth: int,
        mask: NDArray[np.bool_] | None = None,
        *,
        nprobe: int | None = None,
    ) -> Candidates:
        """Return positions int64 and code distances float32 of the `depth` nearest codes of the lists, nearest first.

        As `Lists.candidates`, and comparable with those of `CodeSegment` of the same codebook. Raises
        InvalidInput.
        """
        ranked = self.centroids.ranked(query)
        passing = self._passing(mask)
        wanted = min(depth, passing)
        if wanted <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        terms = self.codebook.terms(np.asarray(query)[None])
        probed = self._share(nprobe)
        bits = None
        few = mask is not None and int(self._sizes[ranked[:probed]].sum()) >= passing
        if mask is not None and not few:
            probed = min(len(ranked), math.ceil(probed * len(self._rows) / passing))
            bits = np.packbits(mask, bitorder="little")
        values, rows = np.empty(0, np.float32), np.empty(0, np.int64)
        if not few:
            values, rows = self._fast.nearest(terms, wanted, np.ascontiguousarray(ranked[:probed]), bits)
        if len(rows) < wanted:  # all that pass, since the lists hold too few
            picked = np.arange(len(self._rows)) if mask is None else np.flatnonzero(mask)
            codes = self._codes if mask is None else self._codes.take(picked, axis=0)
            pairs = self.codebook.nearest(terms, codes, wanted)
            values, rows = pairs[0][0], picked[pairs[1][0]]
        return rows + self.first, values if self.codebook.l2 else -values
