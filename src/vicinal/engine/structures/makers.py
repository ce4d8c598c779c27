"""Makes graphs and lists of rows that come portion by portion, and the same again from their arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from vicinal.errors import Corrupted
from vicinal.index import Centroids, Codebook, CodedLists, Graph, GraphBuilder, Lists, default_nlist, usual_bits
from vicinal.index.graph import EF_CONSTRUCTION, M

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vicinal.indexing import IndexChoice
    from vicinal.vectors import VectorSpec

Structure = Graph | Lists | CodedLists
Arrays = dict[str, "NDArray[Any]"]
RowsAt = Callable[[slice], "NDArray[Any]"]

_GRAPH_SAMPLE: Final = 4096
_SAMPLE_PER_LIST: Final = 64
_SAMPLE_BYTES: Final = 256 << 20
_CODEBOOK: Final = "codebook."
_SLICE_ELEMENTS: Final = 1 << 18
"""Numbers added between two calls of `progress`: some tenths of a second for a graph."""


class Maker(Protocol):
    """Takes vectors in portions and makes a structure of them."""

    @property
    def parameters(self) -> dict[str, int]:
        """Every parameter in use, those that were chosen here included."""

    def add(self, vectors: NDArray[Any], progress: Callable[[int], None]) -> None:
        """Add vectors (n, width); `progress` is told the rows added so far, may sleep, and may raise."""

    def finish(self, progress: Callable[[int], None]) -> tuple[Structure, Arrays]:
        """Return the structure and its arrays. Called once."""


def sample_rows(choice: IndexChoice, n: int, spec: VectorSpec) -> int:
    """Return how many of n rows show a maker what vectors are like."""
    if choice.kind == "hnsw":
        return min(n, _GRAPH_SAMPLE)
    nlist = _nlist(choice, n)
    return min(n, max(nlist, min(_SAMPLE_PER_LIST * nlist, _SAMPLE_BYTES // spec.row_bytes)))


def maker(choice: IndexChoice, n: int, sample: NDArray[Any], spec: VectorSpec, known: Centroids | None) -> Maker:
    """Return what makes a structure of n rows.

    known: centroids of the structure before, which are used again where there are as many as wanted. Cost: nothing
    for a graph; lists train centroids, see `Centroids.train`.
    """
    if choice.kind == "hnsw":
        return _GraphMaker(choice, sample, spec)
    nlist = min(_nlist(choice, n), len(sample))
    centroids = known if known is not None and known.nlist == nlist else Centroids.train(sample, spec, nlist)
    if choice.kind == "ivf":
        return _ListsMaker(centroids, None)
    bits = choice.parameters.get("bits", usual_bits(n, spec.dim))
    return _ListsMaker(centroids, Codebook.train(sample, spec, 1 if bits == 1 else 2))


def _nlist(choice: IndexChoice, n: int) -> int:
    return min(choice.parameters.get("nlist", default_nlist(n)), n)


class _GraphMaker:
    def __init__(self, choice: IndexChoice, sample: NDArray[Any], spec: VectorSpec) -> None:
        self.parameters = {"M": M, "ef_construction": EF_CONSTRUCTION} | dict(choice.parameters)
        self._builder = GraphBuilder(sample, spec, **self.parameters)
        self._slice = max(16, min(1024, _SLICE_ELEMENTS // spec.dim))

    def add(self, vectors: NDArray[Any], progress: Callable[[int], None]) -> None:
        for start in range(0, len(vectors), self._slice):
            self._builder.add(vectors[start : start + self._slice])
            progress(len(self._builder))

    def finish(self, progress: Callable[[int], None]) -> tuple[Structure, Arrays]:
        graph = self._builder.finish(progress=progress)
        return graph, graph.arrays() | {"codes": graph.codes}


class _ListsMaker:
    def __init__(self, centroids: Centroids, codebook: Codebook | None) -> None:
        self._centroids = centroids
        self._codebook = codebook
        self._lists: list[NDArray[np.int32]] = []
        self._codes: list[NDArray[np.uint8]] = []
        self._done = 0
        self.parameters = {"nlist": centroids.nlist}
        if codebook is not None:
            self.parameters["bits"] = codebook.bits

    def add(self, vectors: NDArray[Any], progress: Callable[[int], None]) -> None:
        self._lists.append(self._centroids.assign(vectors))
        if self._codebook is not None:
            self._codes.append(self._codebook.encode(vectors))
        self._done += len(vectors)
        progress(self._done)

    def finish(self, progress: Callable[[int], None]) -> tuple[Structure, Arrays]:
        lists = np.concatenate([np.empty(0, np.int32), *self._lists])
        arrays = self._centroids.arrays() | {"lists": lists}
        if self._codebook is None:
            return Lists(self._centroids, lists, _no_vectors), arrays
        codes = np.concatenate([np.empty((0, self._codebook.code_bytes), np.uint8), *self._codes])
        progress(self._done)
        arrays |= {"codes": codes} | {_CODEBOOK + name: each for name, each in self._codebook.arrays().items()}
        return CodedLists(self._centroids, lists, self._codebook, codes), arrays


def restored(
    kind: str, spec: VectorSpec, arrays: Mapping[str, NDArray[Any]], n: int, rows_at: RowsAt | None
) -> Structure:
    """Return the structure of n rows that a maker's arrays came from. Raises Corrupted where they cannot be of one.

    rows_at: where given, what returns the vectors of a part of its rows, of which a graph's codes are made again.
    """
    if kind == "hnsw" and rows_at is not None:
        return Graph.from_rows(arrays, n, rows_at, spec)
    if kind == "hnsw":
        return Graph.from_codes(arrays, arrays.get("codes"), spec)  # type: ignore[arg-type]
    centroids = Centroids.from_arrays(spec, arrays)
    lists = arrays.get("lists")
    if kind == "ivf":
        return Lists(centroids, lists, _no_vectors)  # type: ignore[arg-type]
    if kind != "scann":
        message = f"an index of the kind {kind!r} is not kept as arrays"
        raise Corrupted(message)
    own = {name.removeprefix(_CODEBOOK): each for name, each in arrays.items() if name.startswith(_CODEBOOK)}
    return CodedLists(centroids, lists, Codebook.from_arrays(spec, own), arrays.get("codes"))  # type: ignore[arg-type]


def _no_vectors(positions: NDArray[np.int64]) -> NDArray[Any]:
    """Stand for the vectors of lists, which each query brings along: they belong to its snapshot."""
    raise NotImplementedError(len(positions))
