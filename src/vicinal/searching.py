"""The searches of a collection: by text, by vector, by a row it has; one at a time and in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack, cast

from vicinal.encoder import field_of
from vicinal.errors import InvalidInput, NotFound, shorten
from vicinal.indexing import IndexChoice
from vicinal.recall import measured
from vicinal.request import GetRequest, SearchOptions, SearchRequest, check_count
from vicinal.settings import MAX_K, MAX_QUERIES
from vicinal.values import check_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from vicinal.backend import Backend, CollectionInfo
    from vicinal.encoder import Encoder
    from vicinal.filters import Expression, Node
    from vicinal.report import Explanation, Recall
    from vicinal.request import Include
    from vicinal.results import BatchHits, Hits
    from vicinal.values import Id

    Where = str | Mapping[str, object] | Expression | Node | None
    Query = str | ArrayLike | bytes


class Searching:
    """What a collection can be asked for the nearest of."""

    def __init__(self, backend: Backend, info: CollectionInfo, encoder: Encoder) -> None:
        self._backend = backend
        self._info = info
        self._encoder = encoder

    @property
    def name(self) -> str:
        """The name it was opened under."""
        return self._info.name

    def search(  # noqa: PLR0913 - independent options of one request
        self,
        query: Query | None = None,
        *,
        vector: ArrayLike | bytes | None = None,
        text: str | None = None,
        k: int = 10,
        where: Where = None,
        mode: str = "auto",
        recall: float = 0.95,
        exact: bool = False,
        radius: float | None = None,
        include: Iterable[Include] = ("document", "metadata"),
        using: str | None = None,
        effort: Mapping[str, int] | None = None,
    ) -> Hits:
        """Return the k rows nearest to a text or a vector that pass the filter, best first.

        query: a text (embedded by the collection's embedder) or a vector; `text=` and `vector=` name them.
        where: SQL text, a dict, or an `F` expression; min(k, passing) rows come back.
        recall: share of the true nearest rows to find at least; `exact=True` for all of them.
        radius: the largest distance of a hit; fewer than k come back where fewer are so near.
        include: of "document", "metadata", "vector" and "expires". using: the vector field, where there are several.
        effort: how hard to look, in place of `recall`: {"ef": 128} for a graph, {"nprobe": 32} for lists, and
            {"depth": 400} for the candidates that are compared exactly; see `index`.

        Ties come in the order of their ids.
        """
        if isinstance(query, (list, tuple)) and query and isinstance(query[0], str):
            message = "search takes one query; for several use search_batch"
            raise InvalidInput(message)
        request = SearchRequest.checked(
            self._query(query, text, vector, using),
            self._info.identity,
            k=k,
            where=where,
            mode=mode,
            recall=recall,
            exact=exact,
            radius=radius,
            include=include,
            using=using,
            effort=effort,
        )
        return self._backend.search(self.name, request)[0]

    def search_batch(
        self, queries: Sequence[str] | ArrayLike, *, arrays: bool = False, **options: Unpack[SearchOptions]
    ) -> list[Hits] | BatchHits:
        """Answer several texts, or vectors (n, dim), at once: a list of `Hits`, or `arrays` of shape (n, k).

        options: those of `search`. Arrays hold ids, distances and scores alone.
        """
        if arrays:
            options["include"] = ()
        request = SearchRequest.checked(self._vectors(queries, options.get("using")), self._info.identity, **options)
        if arrays:
            return self._backend.search_arrays(self.name, request)
        return self._backend.search(self.name, request)

    def explain(
        self,
        query: Query | None = None,
        *,
        vector: ArrayLike | bytes | None = None,
        text: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> Explanation:
        """Run a search and return how it was answered: plan, rows passing, candidates, recall, times.

        options: those of `search`.
        """
        found = self._query(query, text, vector, options.get("using"))
        return self._backend.explain(self.name, SearchRequest.checked(found, self._info.identity, **options))

    def similar(self, identity: Id, **options: Unpack[SearchOptions]) -> Hits:
        """Return the k rows nearest to a row, which is not among them itself.

        options: those of `search`. Raises NotFound where no row has that id, and InvalidInput where it has no vector.
        """
        k = check_count(options.get("k", 10), "k", 1, MAX_K - 1)
        options["k"] = k + 1
        options["using"] = field = field_of(self._current_info(), options.get("using")).name
        rows = self._backend.get(self.name, GetRequest(ids=(check_id(identity),), include=("vector",)))
        if not len(rows):
            message = f"no row {shorten(identity)} in {self.name!r}"
            raise NotFound(message)
        vector = (rows.vectors or [{}])[0].get(field)
        if vector is None:
            message = f"the row {shorten(identity)} has no vector {field!r}"
            raise InvalidInput(message)
        request = SearchRequest.checked(vector[None], self._info.identity, **options)
        return self._backend.search(self.name, request)[0].without(identity, k)

    def measure_recall(
        self,
        queries: Sequence[str] | ArrayLike | None = None,
        *,
        k: int = 10,
        recall: float = 0.95,
        n: int = 200,
        where: Where = None,
        using: str | None = None,
    ) -> Recall:
        """Compare searches that ask for `recall` with exact ones, and return the share they found.

        queries: texts, or vectors (n, dim); by default `n` rows of the collection, each left out of its own answer.
        Cost: an exact search of every query.
        """
        field = field_of(self._current_info(), using).name
        k, own = check_count(k, "k", 1), None
        if queries is None:
            own, vectors = self._backend.sample(self.name, field, check_count(n, "n", 1, MAX_QUERIES))
        else:
            vectors = self._vectors(queries, field)
        k_asked = k + (own is not None)
        request = SearchRequest.checked(
            vectors, self._info.identity, k=k_asked, where=where, recall=recall, include=(), using=field
        )
        found = [self._backend.search(self.name, replace(request, vectors=each[None]))[0] for each in vectors]
        found_share = measured(found, self._backend.search(self.name, replace(request, exact=True)), own, (recall, k))
        return replace(found_share, unreachable=self._backend.unreachable(self.name, field))

    def index(
        self,
        kind: str = "auto",
        *,
        using: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        **parameters: int,
    ) -> dict[str, object]:
        """Choose the kind of index of a vector field, make it now, and return what was made.

        kind: "auto" (an exact scan of few rows, a scan of codes of many), "flat" (always exact), "scan" (`bits` 1
            or 2), "hnsw" (`M`, `ef_construction`), "ivf" (`nlist`), "scann" (`nlist`, `bits`). Parameters that
            are not given are chosen by the number of rows.
        progress: called with the rows done and the rows there are.

        Returns kind, parameters, rows, seconds and bytes. The choice is stored with the collection; what is added
        later is found at once, and maintenance builds anew when much has changed. Searches and writes go on meanwhile.

        Raises InvalidInput naming an unknown kind or parameter, Unsupported where the kind does not suit the field,
        Locked while another index is being built. Cost, one thread, 100,000 rows of 256 dimensions: hnsw 40 s,
        ivf and scann 2 s.
        """
        choice = IndexChoice.checked(kind, parameters)
        return self._backend.index(self.name, using, choice, progress)

    def _vectors(self, queries: Sequence[str] | ArrayLike, using: str | None) -> NDArray[np.generic]:
        """Return several queries, given as texts or as vectors, as (n, width)."""
        if isinstance(queries, (str, bytes)):
            message = "several queries are a list of texts or vectors; for one use search"
            raise InvalidInput(message)
        if isinstance(queries, Sized) and len(queries) > MAX_QUERIES:
            message = f"up to {MAX_QUERIES:,} queries are answered at once, not {len(queries):,}"
            raise InvalidInput(message)
        texts = isinstance(queries, (list, tuple)) and bool(queries) and isinstance(queries[0], str)
        vectors: object = self._encoder.texts(cast("Sequence[str]", queries)) if texts else queries
        return self._encoder.queries(self._current_info(), vectors, using, batch=True)

    def _query(self, query: object, text: object, vector: object, using: str | None) -> NDArray[np.generic]:
        """Return the one query, given as a text or as a vector, as (1, width)."""
        given = [value for value in (query, text, vector) if value is not None]
        if len(given) != 1:
            message = "give one query: a text or a vector" if not given else "give either a text or a vector, once"
            raise InvalidInput(message)
        if text is not None and not isinstance(text, str):
            message = f"text is a str, not {shorten(text)}"
            raise InvalidInput(message)
        if isinstance(given[0], str) and vector is None:
            return self._encoder.queries(self._current_info(), self._encoder.texts([given[0]]), using, batch=True)
        return self._encoder.queries(self._current_info(), given[0], using, batch=False)

    def _current_info(self) -> CollectionInfo:
        """Return what the collection is; looked up again while a field has no dimension yet."""
        if any(entry.dim is None for entry in self._info.fields):
            self._info = self._backend.describe(self.name)
        return self._info
