"""A collection: rows with ids, vectors, documents and metadata, added, changed, found and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vicinal import intake, paging
from vicinal.encoder import Encoder
from vicinal.errors import InvalidInput, NotFound, shorten
from vicinal.filters import parse_filter
from vicinal.intake import Columns
from vicinal.request import GetRequest, check_count, check_include, check_order
from vicinal.searching import Searching
from vicinal.values import check_distinct_ids, check_id, encode_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from numpy.typing import ArrayLike, NDArray

    from vicinal.backend import Backend, CollectionInfo, WriteMode
    from vicinal.embedding import Embedder
    from vicinal.filters import Expression, Node
    from vicinal.request import Include
    from vicinal.results import Row, Rows
    from vicinal.values import Id

    Where = str | Mapping[str, object] | Expression | Node | None
    Query = str | ArrayLike | bytes

_EMBED_AT_ONCE = 1024


class Collection(Searching):
    """One collection of a database; cheap to make, safe to share between threads."""

    def __init__(
        self, backend: Backend, info: CollectionInfo, embedder: Embedder | None, clock: Callable[[], float]
    ) -> None:
        super().__init__(backend, info, Encoder(info, embedder))
        self._clock = clock

    def info(self) -> dict[str, object]:
        """Return its specification and size: rows, fields and their indexes, embedder, id_type, version."""
        info = self._backend.describe(self.name, count=True)
        return {
            "name": info.name,
            "rows": info.rows,
            "fields": [
                {
                    "name": entry.name,
                    "dim": entry.dim,
                    "dtype": entry.dtype,
                    "metric": entry.metric,
                    "index": info.indexes[entry.name].to_dict(),
                }
                for entry in info.fields
            ],
            "embedder": info.embedder,
            "quantize": info.quantize,
            "id_type": info.id_type,
            "version": info.version,
        }

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
        unset = intake.check_unset(unset)
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
            if columns.given():
                message = "give rows, or columns by keyword, not both"
                raise InvalidInput(message)
            columns = intake.columns_of(rows, patch=True)
        if columns.ids is None:
            message = "update needs ids=, rows with an id, or where="
            raise InvalidInput(message)
        batch = intake.prepare(self._info, self._encoder.fill(columns), now=self._now())
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
        checked, condition = None if ids is None else check_distinct_ids(ids), parse_filter(where)
        if checked is None and condition is None:
            message = "an empty filter would delete every row; to delete everything, drop the collection"
            raise InvalidInput(message)
        return self._backend.delete(self.name, checked, condition)

    def _store(
        self, rows: object, columns: Columns, mode: WriteMode, progress: Callable[[int], None] | None
    ) -> list[Id]:
        if rows is not None:
            if columns.given():
                message = "give rows, or columns by keyword, not both"
                raise InvalidInput(message)
            columns = intake.columns_of(rows)
            if not any((columns.ids, columns.documents, columns.metadata)) and columns.vectors is None:
                return []
        columns = self._encoder.fill(columns, progress)
        if columns.vectors is None:
            hint = "" if self._info.embedder else ", or create the collection with an embedder to give documents alone"
            message = f"rows of {self.name!r} need vectors={hint}"
            raise InvalidInput(message)
        batch = intake.prepare(self._info, columns, now=self._now())
        return self._backend.write(self.name, batch, mode) if batch.n else []

    def _patch(self, where: Node | None, metadata: object, unset: tuple[str, ...], expires: object, ttl: object) -> int:
        if metadata is not None and not isinstance(metadata, Mapping):
            message = "update(where=…) takes one metadata dict for all rows"
            raise InvalidInput(message)
        times = intake.expiries(expires, ttl, 1, self._now())
        if metadata is None and not unset and times is None:
            message = "update(where=…) has nothing to change: give metadata=, unset=, expires= or ttl="
            raise InvalidInput(message)
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

    def get(
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
        include: of "document", "metadata", "vector" and "expires".
        """
        request = GetRequest(
            ids=None if ids is None else tuple(check_distinct_ids(ids)),
            where=parse_filter(where),
            order_by=check_order(order_by),
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
        fields = ", ".join(
            f"{entry.name}: {entry.dim or '?'} {entry.dtype} {entry.metric}" for entry in self._info.fields
        )
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
        pages = paging.pages(self._backend, self.name, parse_filter(where), size, check_include(include))
        return paging.in_snapshot(self._backend, pages) if snapshot else pages
