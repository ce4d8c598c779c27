"""Graphs (HNSW): from a row to its neighbours to theirs, ever nearer to the query.

Malkov, Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
Navigable Small World graphs", PAMI 2018; parameters are named as there. The walk compares 8-bit
codes of the vectors, a quarter of their memory and faster, and the caller re-ranks (`reranking`).
What is persisted are links alone: codes are made again from the vectors.

Products do not obey the triangle inequality: a graph by `dot` is one of rows that are each other's
largest products, where short rows are hardly linked. They are rarely the answer, unless a mask
excludes the long ones. (Turning products into distances by one more dimension, as in Bachrach et
al. 2014, was measured far worse: recall .20 where the plain graph has .85.)

**Masks.** The walk passes over rows that the mask excludes and reports the others. It must go as
far as to meet as many passing rows as a walk without a mask would; where that costs more than to
compare all passing rows with the query, those are compared. So masks do not cost recall, and
min(depth, passing) rows always come back.
"""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import Corrupted, InvalidInput
from vicinal.index.links import M_BOUNDS, Links, link_unreachable
from vicinal.index.native_graph import ByteCoder, GrowingGraph, SearchedGraph
from vicinal.index.plain import PlainSpace, named_array, one_number, whole_number
from vicinal.index.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from vicinal.vectors import VectorSpec

__all__ = ["EF", "EF_CONSTRUCTION", "Graph", "GraphBuilder", "M"]

M = 32
EF_CONSTRUCTION = 200
EF = 64
"""Defaults: links per row and level, effort of building, effort of searching: recall@10 of .95 in 0.25 ms
on 100,000 sentences."""

_EF_CONSTRUCTION_BOUNDS = (1, 4096)
_EF_BOUNDS = (1, 1 << 31)
_PORTION = 1024
"""Rows added between two calls of `progress`: some tenths of a second."""
_SAMPLE_ROWS = 4096
_REACH = 1.5
_LARGEST = 2.0**41
_LINKING_EF = 64
_DIRECT_ROWS = 1 << 14
_KIND = "graph"

# Costs in microseconds, measured on one AVX-512 core; only their ratios matter.
_LINK, _LINK_PER_BYTE = 0.04, 0.0001
_STEP_SQUARED = 1.25e-4
_ROW, _ROW_PER_BYTE = 0.005, 0.00004
_GATHERED = 2.3


class GraphBuilder:
    """Grows a graph portion by portion; for one thread at a time.

    `sample` (n, dim), in storage type, shows where the vectors lie: 4,096 rows chosen at random are
    enough, and they need not be added. The same portions give the same graph with one thread; more
    threads share the rows of a portion (OpenMP), and each run links a little differently. Raises
    InvalidInput for bits, l1 and parameters out of range: M is 2 to 256, ef_construction 1 to 4096.
    """

    def __init__(
        self,
        sample: NDArray[Any],
        spec: VectorSpec,
        *,
        M: int = M,  # noqa: N803 - its name in the literature
        ef_construction: int = EF_CONSTRUCTION,
        threads: int = 1,
    ) -> None:
        self._m = whole_number(M, "M", M_BOUNDS)
        effort = whole_number(ef_construction, "ef_construction", _EF_CONSTRUCTION_BOUNDS)
        self._threads = whole_number(threads, "threads", (1, 1024))
        self._space = PlainSpace.of(sample, spec)
        self._low, self._span = _bounds(self._space, sample)
        self._coder = ByteCoder(self._low, self._span, l2=self._space.l2)
        self._growing = GrowingGraph(self._coder, self._m, effort)

    def __len__(self) -> int:
        return len(self._growing)

    def add(self, vectors: NDArray[Any]) -> None:
        """Add `vectors` (n, dim), in storage type; the GIL is released for as long as it takes.

        Cost at 256 dimensions and the defaults: 0.35 ms per row up to 100,000 rows, one thread.
        """
        step = self._space.step
        for start in range(0, len(vectors), step):
            self._growing.add(self._space.rows(vectors[start : start + step]), self._threads)

    def finish(self, *, first: int = 0, progress: Callable[[int], None] | None = None) -> Graph:
        """Return the graph of the rows added, all of them reachable.

        `first` is the position of the first row. The builder is not to be used afterwards. Cost: 0.1
        s per 100,000 rows, and 0.2 ms for each that has to be linked, few but under dot; `progress`
        is told the number of all rows after every 1024 of those.
        """
        slots, levels, entry = self._growing.structure()
        codes = self._growing.codes()
        del self._growing
        links = Links(self._m, levels, slots, entry)
        graph = Graph(self._space, (self._low, self._span), links, codes, first)
        graph._repair(progress)  # noqa: SLF001 - before anyone else sees it
        return graph


class Graph:
    """An immutable graph over a run of rows; threads may search one object at the same time.

    Memory per row: a byte per dimension, and about 8.3 M for links. In fewer than 8 dimensions bytes
    hardly tell neighbours apart; an exact search is fast there. Made by `build`, `GraphBuilder`
    or `from_arrays`. `first` is the position of the first row.
    """

    __slots__ = ("_bounds", "_coder", "_codes", "_degree", "_links", "_searched", "_space", "first")

    def __init__(
        self,
        space: PlainSpace,
        bounds: tuple[NDArray[np.float32], NDArray[np.float32]],
        links: Links,
        codes: NDArray[np.uint8],
        first: int,
    ) -> None:
        self.first = first
        self._space = space
        self._bounds = bounds
        self._links = links
        self._codes = codes
        self._coder = ByteCoder(*bounds, l2=space.l2)
        self._degree = links.mean_degree
        self._searched: SearchedGraph | None = None
        if len(links):
            self._searched = SearchedGraph(
                self._coder, codes, links.m, links.slots, links.offsets, links.levels, links.entry
            )

    @classmethod
    def build(  # noqa: PLR0913 - parameters of a graph
        cls,
        vectors: NDArray[Any],
        spec: VectorSpec,
        *,
        M: int = M,  # noqa: N803 - its name in the literature
        ef_construction: int = EF_CONSTRUCTION,
        threads: int = 1,
        seed: int = 0,
        first: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> Graph:
        """Return a graph of `vectors` (n, dim), in storage type; see `GraphBuilder`.

        `progress` is told the number of rows done after every 1024: it may sleep, to leave the
        processor to others, and an exception it raises ends the build and is passed on.
        """
        rng = np.random.default_rng(seed)
        sample = vectors
        if len(vectors) > _SAMPLE_ROWS:
            sample = vectors[np.sort(rng.choice(len(vectors), _SAMPLE_ROWS, replace=False))]
        builder = GraphBuilder(sample, spec, M=M, ef_construction=ef_construction, threads=threads)
        for start in range(0, len(vectors), _PORTION):
            builder.add(vectors[start : start + _PORTION])
            if progress is not None:
                progress(len(builder))
        return builder.finish(first=first, progress=progress)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `from_arrays` takes beside the vectors: see `Links.arrays`, and the steps of codes."""
        low, span = self._bounds
        return self._links.arrays() | {
            "low": low.copy(),
            "span": span.copy(),
            "scale": np.array([self._space.scale], np.float64),
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], vectors: NDArray[Any], spec: VectorSpec, *, first: int = 0
    ) -> Graph:
        """Return the graph that `arrays` came from, of the same `vectors` (n, dim), in storage type.

        Raises Corrupted if arrays cannot be of a graph of n rows; other vectors of that shape are
        not noticed: they make a poor graph, not a dangerous one. Cost at 256 dimensions: 2 us per
        row.
        """
        cls._space_of(arrays, spec).check(vectors)
        return cls.from_rows(arrays, len(vectors), lambda part: vectors[part], spec, first=first)

    @classmethod
    def from_rows(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        n: int,
        rows_at: Callable[[slice], NDArray[Any]],
        spec: VectorSpec,
        *,
        first: int = 0,
    ) -> Graph:
        """Return what `from_arrays` does, of n vectors that `rows_at` returns portion by portion."""
        space, bounds = cls._space_of(arrays, spec), cls._bounds_of(arrays, spec)
        links = Links.from_arrays(arrays, n)
        coder = ByteCoder(*bounds, l2=space.l2)
        codes = np.empty((n, coder.width), np.uint8)
        for start in range(0, n, space.step):
            part = slice(start, min(n, start + space.step))
            codes[part] = coder.encode(space.rows(rows_at(part)))
        return cls(space, bounds, links, codes, first)

    @classmethod
    def from_codes(
        cls, arrays: Mapping[str, NDArray[Any]], codes: NDArray[np.uint8], spec: VectorSpec, *, first: int = 0
    ) -> Graph:
        """Return what `from_arrays` does, with the graph's own `codes` (n, width), which are taken over.

        Raises Corrupted as it does, and for codes of another shape. Cost: 0.3 us per row at M of 32.
        """
        space, bounds = cls._space_of(arrays, spec), cls._bounds_of(arrays, spec)
        width = ByteCoder(*bounds, l2=space.l2).width
        if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.shape[1:] != (width,):
            raise Corrupted(f"{_KIND}: codes must be a uint8 array of shape (n, {width})")
        links = Links.from_arrays(arrays, len(codes))
        return cls(space, bounds, links, np.ascontiguousarray(codes), first)

    @staticmethod
    def _space_of(arrays: Mapping[str, NDArray[Any]], spec: VectorSpec) -> PlainSpace:
        return PlainSpace(spec, one_number(arrays, _KIND, "scale", np.float64, (2.0**-200, 2.0**200)))

    @staticmethod
    def _bounds_of(
        arrays: Mapping[str, NDArray[Any]], spec: VectorSpec
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        low = named_array(arrays, _KIND, "low", np.float32, (spec.dim,))
        span = named_array(arrays, _KIND, "span", np.float32, (spec.dim,))
        if not ((np.abs(low) <= _LARGEST).all() and ((span >= 0) & (span <= _LARGEST)).all()):
            raise Corrupted(f"{_KIND}: a step of codes is not a number in range")
        return low, span

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes (n, width) that the walk compares: what `from_codes` takes."""
        return self._codes

    @property
    def M(self) -> int:  # noqa: N802 - its name in the literature
        """Links per row and level, twice as many on level 0."""
        return self._links.m

    @property
    def nbytes(self) -> int:
        """Memory held: codes, links, and faiss's copies of levels and offsets."""
        return self._codes.nbytes + self._links.nbytes + 12 * len(self._codes)

    def unreachable(self) -> NDArray[np.int64]:
        """Return positions, ascending, that no walk on level 0 from the entry point comes to.

        Searches under a narrow mask find them all the same. `build` leaves none.
        """
        return self._links.unreachable() + self.first

    def candidates(
        self,
        query: NDArray[Any],
        depth: int,
        mask: NDArray[np.bool_] | None = None,
        *,
        ef: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions int64 and approximate values float32 of `depth` rows, nearest first.

        `query` is (dim,); `mask` (n,) is true for the rows that may be found: min(depth, passing)
        come back. `ef`, at least `depth`, is how many rows the walk keeps in view, 64 by default:
        time grows with it, and with ef of n every row is compared. Values are -cos, -x.q / |q| or
        squared distances, of the codes. Raises InvalidInput for queries and masks of other shapes.
        Cost at 100,000 sentences: 0.25 ms at ef 64, 0.8 ms at ef 256.
        """
        raw, rows = self._walked(query, depth, mask, ef)
        return rows, self._space.values(raw)

    def likely(
        self, query: NDArray[Any], depth: int, mask: NDArray[np.bool_] | None = None, *, ef: int | None = None
    ) -> NDArray[np.int64]:
        """Return the positions that `candidates` returns, without their values."""
        return self._walked(query, depth, mask, ef)[1]

    def _walked(
        self, query: NDArray[Any], depth: int, mask: NDArray[np.bool_] | None, ef: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return squared distances or products, and positions."""
        n = len(self._codes)
        effort = max(EF if ef is None else whole_number(ef, "ef", _EF_BOUNDS), depth)
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != (n,)):
            raise InvalidInput(f"expected a bool mask of shape ({n},), got {mask.dtype} {mask.shape}")
        plain = self._space.query(query)
        passing = n if mask is None else int(np.count_nonzero(mask))
        wanted = min(depth, passing)
        if wanted <= 0 or self._searched is None:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        raw, rows = self._nearest(self._searched, plain, wanted, effort, mask if passing < n else None)
        return raw, rows + self.first if self.first else rows

    def _nearest(
        self,
        searched: SearchedGraph,
        plain: NDArray[np.float32],
        wanted: int,
        effort: int,
        mask: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Walk, ever farther, until enough passing rows were met; or compare all that pass."""
        n = len(self._codes)
        passing = n if mask is None else int(np.count_nonzero(mask))
        due = wanted if mask is None else min(effort, passing)
        ef = math.ceil(effort * n / passing)
        bits = None if mask is None else np.packbits(mask, bitorder="little")
        while self._walk_cost(ef) < self._direct_cost(passing, gathered=mask is not None):
            values, rows = searched.nearest(plain, due, ef, bits)
            if len(rows) >= due:
                return values[:wanted], rows[:wanted]
            ef = math.ceil(ef * min(8.0, 1.25 * due / max(len(rows), 1)))
        return self._direct(plain, wanted, mask)

    def _walk_cost(self, ef: int) -> float:
        return ef * self._degree * (_LINK + _LINK_PER_BYTE * self._coder.width) + ef * ef * _STEP_SQUARED

    def _direct_cost(self, passing: int, *, gathered: bool) -> float:
        return passing * (_ROW + _ROW_PER_BYTE * self._coder.width) * (_GATHERED if gathered else 1.0)

    def _direct(
        self, plain: NDArray[np.float32], wanted: int, mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if mask is None:
            return self._coder.nearest(plain, self._codes, wanted)
        picked = np.flatnonzero(mask)
        values, rows = [], []
        for start in range(0, len(picked), _DIRECT_ROWS):
            part = picked[start : start + _DIRECT_ROWS]
            codes = scratch("graph", (len(part), self._codes.shape[1]), np.uint8)
            self._codes.take(part, axis=0, out=codes, mode="clip")  # without `clip`, `out` is buffered
            near, found = self._coder.nearest(plain, codes, min(wanted, len(part)))
            values.append(near)
            rows.append(part[found])
        all_values, all_rows = np.concatenate(values), np.concatenate(rows)
        order = np.argsort(all_values if self._space.l2 else -all_values, kind="stable")[:wanted]
        return all_values[order], all_rows[order]

    def _repair(self, progress: Callable[[int], None] | None) -> None:
        """Link what cannot be reached; `links.slots`, which the walk reads, changes."""
        searched, linked = self._searched, count(1)
        if searched is None:
            return

        def nearest(row: int) -> NDArray[np.int64]:
            if next(linked) % _PORTION == 0 and progress is not None:
                progress(len(self))
            plain = self._coder.decode(self._codes[row : row + 1])
            return searched.nearest(plain, _LINKING_EF, _LINKING_EF)[1]

        link_unreachable(self._links, nearest)


def _bounds(space: PlainSpace, sample: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where the 256 steps of each dimension begin and how far they reach.

    int8 gets its own 256 values, so that nothing is lost. Else the range of the sample and a
    twentieth more to both sides, but at most four times that of its middle 98 %: a few wild rows
    must not leave the others without steps.
    """
    if space.spec.dtype == "i8" and space.spec.metric != "cosine":
        step = np.float32(space.scale)
        return (np.full(space.spec.dim, -128.5 * step, np.float32), np.full(space.spec.dim, 255 * step, np.float32))
    if not len(sample):
        return np.full(space.spec.dim, -1, np.float32), np.full(space.spec.dim, 2, np.float32)
    rows = space.rows(sample)
    low, high = rows.min(axis=0), rows.max(axis=0)
    inner = np.quantile(rows, (0.01, 0.99), axis=0)
    reach = np.where(inner[1] > inner[0], _REACH * (inner[1] - inner[0]), np.inf)
    low, high = np.maximum(low, inner[0] - reach), np.minimum(high, inner[1] + reach)
    edge = 0.05 * (high - low)
    return (low - edge).astype(np.float32), (high - low + 2 * edge).astype(np.float32)
