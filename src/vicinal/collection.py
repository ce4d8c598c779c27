"""A collection: rows with ids, vectors, documents and metadata, added, changed, found and read."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vicinal import intake
from vicinal.embedding import embed_in_batches, embed_query, resolve
from vicinal.errors import Closed, InvalidInput, NotFound, SpecMismatch, Unsupported, shorten
from vicinal.filters import parse_filter
from vicinal.intake import Columns
from vicinal.request import GetRequest, SearchRequest, check_count, check_include
from vicinal.settings import MAX_K
from vicinal.values import check_id, check_ids, encode_metadata
from vicinal.vectors import VectorSpec, parse_vector, parse_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from numpy.typing import ArrayLike, NDArray

    from vicinal.backend import Backend, CollectionInfo, FieldSpec, WriteMode
    from vicinal.embedding import Embedder
    from vicinal.filters import Expression, Node
    from vicinal.report import Explanation
    from vicinal.request import Include
    from vicinal.results import BatchHits, Hits, Row, Rows
    from vicinal.values import Id

    Where = str | Mapping[str, object] | Expression | Node | None
    Query = str | ArrayLike | bytes

_SNAPSHOT_SECONDS = 600.0
_EMBED_AT_ONCE = 1024


class Collection:
    """One collection of a database; cheap to make, safe to share between threads."""

    def __init__(self, backend: Backend, info: CollectionInfo, embedder: Embedder | None, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._info = info
        self._embedder = embedder
        self._clock = clock

    @property
    def name(self) -> str:
        """The name it was opened under."""
        return self._info.name

    def info(self) -> dict[str, object]:
        """Return its specification and size: rows, fields, embedder, id_type, version."""
        info = self._backend.describe(self.name, count=True)
        return {
            "name": info.name,
            "rows": info.rows,
            "fields": [
                {"name": entry.name, "dim": entry.dim, "dtype": entry.dtype, "metric": entry.metric} for entry in info.fields
            ],
            "embedder": info.embedder,
            "quantize": info.quantize,
            "id_type": info.id_type,
            "version": info.version,
        }

    # --- writing ---------------------------------------------------------------------------

    def add(  # noqa: PLR0913 - one optional column each
        self,
        rows: object = None,
        *,
        ids: Sequence[Id] | NDArray[Any] | None = None,
        vectors: object = None,
        documents: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, object] | None] | None = None,
        expires: datetime | Sequence[datetime | None] | None = None,
        ttl: float | Sequence[float | None] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Id]:
        """Add rows, all or none, and return their ids once they are durable.

        rows: a list of dicts (keys id, vector or vectors, document, metadata, expires, ttl; other
            keys are metadata), or a pandas, polars or Arrow table; or give columns:
        ids: str or int, one type per collection; generated when omitted.
        vectors: shape (n, dim); a dict of field name to array where there are several fields; made
            from the documents when omitted and the collection has an embedder.
        expires, ttl: when rows cease to exist: an aware datetime, or seconds from now; one or per row.
        progress: called with the number of documents embedded, as they are.

        Raises AlreadyExists naming an id that is taken (an expired one is free), InvalidInput for
        values that cannot be stored, Locked when another writer holds the file.
        """
        columns = Columns(ids=ids, vectors=vectors, documents=documents, metadata=metadata, expires=expires, ttl=ttl)
        return self._store(rows, columns, "add", progress)

    def upsert(  # noqa: PLR0913 - as `add`
        self,
        rows: object = None,
        *,
        ids: Sequence[Id] | NDArray[Any] | None = None,
        vectors: object = None,
        documents: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, object] | None] | None = None,
        expires: datetime | Sequence[datetime | None] | None = None,
        ttl: float | Sequence[float | None] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Id]:
        """Add rows, replacing as a whole those whose id exists; parameters and errors as in `add`."""
        columns = Columns(ids=ids, vectors=vectors, documents=documents, metadata=metadata, expires=expires, ttl=ttl)
        return self._store(rows, columns, "upsert", progress)

    def update(  # noqa: PLR0913 - as `add`
        self,
        rows: object = None,
        *,
        ids: Sequence[Id] | NDArray[Any] | None = None,
        where: Where = None,
        vectors: object = None,
        documents: Sequence[str | None] | None = None,
        metadata: Mapping[str, object] | Sequence[Mapping[str, object] | None] | None = None,
        unset: Sequence[str] = (),
        expires: datetime | Sequence[datetime | None] | None = None,
        ttl: float | Sequence[float | None] | None = None,
    ) -> int:
        """Patch rows, all or none, and return how many.

        By `ids` (or rows with an id): what is given replaces what is stored; metadata is merged key by
        key. Raises NotFound naming an id that does not exist. A new document is embedded anew.
        By `where`: one `metadata` dict, `unset` keys and expiry for all rows that match.
        unset: top-level metadata keys to remove.
        """
        unset = _check_unset(unset)
        if where is not None:
            if any(given is not None for given in (rows, ids, vectors, documents)):
                message = "update(where=…) patches metadata and expiry alike for all rows; for the rest name ids"
                raise InvalidInput(message)
            return self._patch(parse_filter(where), metadata, unset, expires, ttl)
        columns = Columns(ids=ids, vectors=vectors, documents=documents, expires=expires, ttl=ttl)
        if isinstance(metadata, Mapping):
            metadata = [metadata] * (len(ids) if ids is not None else 0)
        columns = Columns(ids=ids, vectors=vectors, documents=documents, metadata=metadata, expires=expires, ttl=ttl)
        if rows is not None:
            columns = intake.columns_of(rows)
        if columns.ids is None:
            message = "update needs ids=, rows with an id, or where="
            raise InvalidInput(message)
        batch = intake.prepare(self._info, self._embedded(columns, None), now=self._now())
        if unset:
            batch = intake.with_unset(batch, unset)
        return len(self._backend.write(self.name, batch, "update"))

    def delete(self, ids: Sequence[Id] | NDArray[Any] | None = None, *, where: Where = None) -> int:
        """Delete rows by id, by filter, or those of `ids` that match; return how many went.

        Ids that do not exist are passed over. Raises InvalidInput when neither is given.
        """
        if ids is None and where is None:
            message = "delete needs ids or where=; to delete everything, drop the collection"
            raise InvalidInput(message)
        if isinstance(ids, (str, int)) and not isinstance(ids, bool):
            ids = [ids]
        checked = None if ids is None else check_ids(list(dict.fromkeys(ids)))
        return self._backend.delete(self.name, checked, parse_filter(where))

    def _store(self, rows: object, columns: Columns, mode: WriteMode, progress: Callable[[int], None] | None) -> list[Id]:
        if rows is not None:
            if columns != Columns():
                message = "give rows, or columns by keyword, not both"
                raise InvalidInput(message)
            columns = intake.columns_of(rows)
            if not any((columns.ids, columns.documents, columns.metadata)) and columns.vectors is None:
                return []
        columns = self._embedded(columns, progress)
        if columns.vectors is None:
            hint = "" if self._info.embedder else ", or create the collection with an embedder to give documents alone"
            message = f"rows of {self.name!r} need vectors={hint}"
            raise InvalidInput(message)
        batch = intake.prepare(self._info, columns, now=self._now())
        return self._backend.write(self.name, batch, mode)

    def _embedded(self, columns: Columns, progress: Callable[[int], None] | None) -> Columns:
        """Return the columns with vectors of the documents where the collection's embedder makes them."""
        if columns.documents is None or self._info.embedder is None:
            return columns
        first = self._info.fields[0].name
        given = columns.vectors
        if isinstance(given, Mapping) and first in given or given is not None and not isinstance(given, Mapping):
            return columns
        columns.length()
        documents = list(columns.documents)
        having = [at for at, text in enumerate(documents) if text is not None]
        vectors: list[object] = [None] * len(documents)
        if having:
            found = embed_in_batches(
                self._model(), [documents[at] for at in having], _EMBED_AT_ONCE, progress
            )
            if len(having) == len(documents):
                return _with_vectors(columns, {**(given or {}), first: found})
            for at, vector in zip(having, found, strict=True):
                vectors[at] = vector
        return _with_vectors(columns, {**(given or {}), first: vectors})

    def _patch(
        self, where: Node | None, metadata: object, unset: tuple[str, ...], expires: object, ttl: object
    ) -> int:
        if metadata is not None and not isinstance(metadata, Mapping):
            message = "update(where=…) takes one metadata dict for all rows"
            raise InvalidInput(message)
        times = intake.expiries(expires, ttl, 1, self._now())
        return self._backend.patch(
            self.name,
            where,
            patch=encode_metadata(metadata, "metadata"),
            unset=unset,
            expires=times[0] if times else None,
            set_expires=times is not None,
        )

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    def _model(self) -> Embedder:
        """Return the collection's embedder. Raises NotFound for one that only its caller has."""
        if self._embedder is None:
            if self._info.embedder is None:
                message = f"{self.name!r} has no embedder: give vectors, or create it with embedder='wordllama'"
                raise InvalidInput(message)
            found = resolve(self._info.embedder)
            if found.identity != self._info.embedder:
                message = f"{self.name!r} holds vectors of {self._info.embedder!r}, installed is {found.identity!r}"
                raise SpecMismatch(message)
            self._embedder = found
        return self._embedder

    # --- reading ---------------------------------------------------------------------------

    def get(  # noqa: PLR0913 - independent options
        self,
        ids: Sequence[Id] | NDArray[Any] | Id | None = None,
        *,
        where: Where = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
        include: Iterable[Include] = ("document", "metadata"),
    ) -> Rows:
        """Return rows by id (in the order asked for, without those that do not exist) or by filter.

        order_by: a metadata field, or several; "-year" for descending; rows without it come last.
        include: of "document", "metadata" and "vector".
        """
        if isinstance(ids, (str, int)) and not isinstance(ids, bool):
            ids = [ids]
        request = GetRequest(
            ids=None if ids is None else tuple(check_ids(list(dict.fromkeys(ids)))),
            where=parse_filter(where),
            order_by=_order(order_by),
            limit=None if limit is None else check_count(limit, "limit", 0, 1 << 62),
            offset=check_count(offset, "offset", 0, 1 << 62),
            include=check_include(include),
        )
        return self._backend.get(self.name, request)

    def __getitem__(self, identity: Id) -> Row:
        found = self.get([identity], include=("document", "metadata", "vector"))
        if not found:
            message = f"no row with id {shorten(identity)} in {self.name!r}"
            raise NotFound(message)
        return found[0]

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, identity: object) -> bool:
        return self._backend.exists(self.name, check_id(identity))

    def __repr__(self) -> str:
        fields = ", ".join(f"{entry.name}: {entry.dim or '?'} {entry.dtype} {entry.metric}" for entry in self._info.fields)
        return f"Collection({self.name!r}, {fields})"

    def count(self, where: Where = None) -> int:
        """Return how many rows there are, or match."""
        return self._backend.count(self.name, parse_filter(where))

    def iterate(
        self,
        *,
        where: Where = None,
        batch_size: int = 1000,
        include: Iterable[Include] = ("document", "metadata"),
        snapshot: bool = False,
    ) -> Iterator[Rows]:
        """Yield all rows in pages; every row present throughout comes exactly once.

        Each page is read in a short snapshot of its own, so that writers may go on. With `snapshot`,
        all pages show one moment; that ends after ten minutes with Closed.
        """
        size = check_count(batch_size, "batch_size", 1)
        pages = self._pages(parse_filter(where), size, check_include(include))
        return self._in_snapshot(pages) if snapshot else pages

    def _pages(self, where: Node | None, size: int, include: tuple[Include, ...]) -> Iterator[Rows]:
        after = -1
        while (found := self._backend.page(self.name, after, size, where, include)) is not None:
            rows, after = found
            if rows:
                yield rows

    def _in_snapshot(self, pages: Iterator[Rows]) -> Iterator[Rows]:
        """Run the pages in a context of their own: the caller's reads and writes stay outside."""
        context = contextvars.copy_context()
        held = self._backend.snapshot()
        context.run(held.__enter__)
        deadline = time.monotonic() + _SNAPSHOT_SECONDS
        try:
            while (rows := context.run(next, pages, None)) is not None:
                yield rows
                if time.monotonic() > deadline:
                    message = f"the snapshot was held for more than {_SNAPSHOT_SECONDS:g} s; iterate without snapshot=True"
                    raise Closed(message)
        finally:
            context.run(held.__exit__, None, None, None)

    # --- searching -------------------------------------------------------------------------

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
        include: Iterable[Include] = ("document", "metadata"),
        using: str | None = None,
    ) -> Hits:
        """Return the k rows nearest to a text or a vector that pass the filter, best first.

        query: a text (embedded by the collection's embedder) or a vector; `text=` and `vector=` name them.
        where: SQL text, a dict, or an `F` expression; min(k, passing) rows come back.
        recall: share of the true nearest rows to find at least; `exact=True` for all of them.
        include: of "document", "metadata" and "vector". using: the vector field, where there are several.

        Ties come in the order of their ids.
        """
        if isinstance(query, (list, tuple)) and query and isinstance(query[0], str):
            message = "search takes one query; for several use search_batch"
            raise InvalidInput(message)
        text, vector = _one_query(query, text, vector)
        vectors = self._query_vectors([text] if vector is None else None, vector, using, batch=False)
        request = self._request(vectors, k, where, mode, recall, exact, include, using)
        return self._backend.search(self.name, request)[0]

    def search_batch(  # noqa: PLR0913 - as `search`
        self,
        queries: Sequence[str] | ArrayLike,
        *,
        k: int = 10,
        where: Where = None,
        mode: str = "auto",
        recall: float = 0.95,
        exact: bool = False,
        include: Iterable[Include] = ("document", "metadata"),
        using: str | None = None,
        arrays: bool = False,
    ) -> list[Hits] | BatchHits:
        """Answer several texts, or vectors (n, dim), at once: a list of `Hits`, or arrays of shape (n, k)."""
        texts = list(queries) if isinstance(queries, (list, tuple)) and queries and isinstance(queries[0], str) else None
        vectors = self._query_vectors(cast("list[str] | None", texts), None if texts else queries, using, batch=True)
        request = self._request(vectors, k, where, mode, recall, exact, () if arrays else include, using)
        if arrays:
            return self._backend.search_arrays(self.name, request)
        return self._backend.search(self.name, request)

    def explain(  # noqa: PLR0913 - as `search`
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
        include: Iterable[Include] = ("document", "metadata"),
        using: str | None = None,
    ) -> Explanation:
        """Run a search and return how it was answered: plan, rows passing, candidates, recall, times."""
        text, vector = _one_query(query, text, vector)
        vectors = self._query_vectors([text] if vector is None else None, vector, using, batch=False)
        request = self._request(vectors, k, where, mode, recall, exact, include, using)
        return self._backend.explain(self.name, request)

    def _request(  # noqa: PLR0913
        self,
        vectors: NDArray[np.generic],
        k: int,
        where: Where,
        mode: str,
        recall: float,
        exact: bool,  # noqa: FBT001 - passed on from a keyword
        include: Iterable[Include],
        using: str | None,
    ) -> SearchRequest:
        if mode in ("text", "hybrid"):
            message = f"mode={mode!r} needs full text, which this version does not have; use mode='vector'"
            raise Unsupported(message)
        if mode not in ("auto", "vector"):
            message = f"mode is 'auto' or 'vector', not {shorten(mode)}"
            raise InvalidInput(message)
        if not isinstance(recall, (int, float)) or not 0 < recall <= 1:
            message = f"recall is a number above 0 and up to 1, not {shorten(recall)}"
            raise InvalidInput(message)
        return SearchRequest(
            vectors=vectors,
            k=check_count(k, "k", 1, MAX_K),
            where=parse_filter(where),
            mode="vector",
            recall=float(recall),
            exact=bool(exact),
            include=check_include(include),
            using=using,
        )

    def _query_vectors(
        self, texts: list[str | None] | list[str] | None, vectors: object, using: str | None, *, batch: bool
    ) -> NDArray[np.generic]:
        """Return the queries as (n, width) in the field's storage type."""
        if texts is not None:
            model = self._model()
            vectors = np.stack([embed_query(model, cast("str", text)) for text in texts])
            batch = True
        entry = self._field(using)
        if entry.dim is None:  # nothing was added yet by whoever opened this; look again
            self._info = self._backend.describe(self.name)
            entry = self._field(using)
        if entry.dim is None:
            return np.zeros((len(cast("Sequence[object]", vectors)) if batch else 1, 1), np.float32)
        spec = VectorSpec(dim=entry.dim, dtype=entry.dtype, metric=entry.metric)  # type: ignore[arg-type]
        quantize = cast("Any", self._info.quantize)
        if batch:
            return parse_vectors(vectors, spec, quantize=quantize)
        return parse_vector(vectors, spec, quantize=quantize).reshape(1, -1)

    def _field(self, using: str | None) -> FieldSpec:
        names = {entry.name: entry for entry in self._info.fields}
        if using is None and len(names) == 1:
            return self._info.fields[0]
        if using not in names:
            listed = ", ".join(map(repr, names))
            message = (
                f"{self.name!r} has several vector fields; say which with using=: {listed}"
                if using is None
                else f"{self.name!r} has no vector field {shorten(using)}; there are: {listed}"
            )
            raise InvalidInput(message)
        return names[using]


def _with_vectors(columns: Columns, vectors: object) -> Columns:
    return Columns(
        ids=columns.ids,
        vectors=vectors,
        documents=columns.documents,
        metadata=columns.metadata,
        expires=columns.expires,
        ttl=columns.ttl,
    )


def _one_query(query: object, text: object, vector: object) -> tuple[str | None, Any]:
    """Return (text, vector) of one search: exactly one of them."""
    given = [value for value in (query, text, vector) if value is not None]
    if len(given) != 1:
        message = "give one query: a text or a vector" if not given else "give either a text or a vector, once"
        raise InvalidInput(message)
    if text is not None and not isinstance(text, str):
        message = f"text is a str, not {shorten(text)}"
        raise InvalidInput(message)
    if isinstance(query, str):
        return query, None
    return cast("str | None", text), vector if query is None else query


def _check_unset(unset: object) -> tuple[str, ...]:
    names = (unset,) if isinstance(unset, str) else tuple(cast("Iterable[object]", unset))
    for name in names:
        if not isinstance(name, str) or not name:
            message = f"unset takes names of metadata fields, not {shorten(name)}"
            raise InvalidInput(message)
    return cast("tuple[str, ...]", names)


def _order(order_by: str | Sequence[str] | None) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """Return (path, descending) of each field to order by."""
    names = [] if order_by is None else [order_by] if isinstance(order_by, str) else list(order_by)
    found = []
    for name in names:
        if not isinstance(name, str) or not name.lstrip("-"):
            message = f"order_by takes metadata fields such as 'year' or '-year', not {shorten(name)}"
            raise InvalidInput(message)
        found.append((tuple(name.removeprefix("-").split(".")), name.startswith("-")))
    return tuple(found)
