"""The waist: what every engine behind a `Database` can do, and how it says what it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from vicinal.batch import Batch
    from vicinal.filters import Node
    from vicinal.indexing import IndexChoice
    from vicinal.report import Explanation, Report
    from vicinal.request import GetRequest, Include, SearchRequest
    from vicinal.results import BatchHits, Hits, Rows
    from vicinal.values import Id

WriteMode = Literal["add", "upsert", "update"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """A vector field; `dim` None means: as the first vector says."""

    name: str
    dim: int | None
    dtype: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSpec:
    """What a collection is created from."""

    name: str
    fields: tuple[FieldSpec, ...]
    embedder: str | None = None
    quantize: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionInfo(CollectionSpec):
    """A collection as it is: what `Collection.info` shows and what batches are prepared from.

    identity: of this very collection; one created anew under the same name has another.
    indexes: the choice of each field, by name.
    """

    identity: int
    version: int
    id_type: str | None
    indexes: Mapping[str, IndexChoice] = field(default_factory=dict)
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend has; what is absent raises Unsupported before anything is written."""

    transactions: bool
    sql: bool
    text: bool
    exact: bool
    measured_recall: bool
    embeds: bool
    id_types: frozenset[str]
    dtypes: frozenset[str]
    metrics: frozenset[str]
    filter_operators: frozenset[str] = field(default_factory=frozenset)


class Backend(Protocol):
    """A place where collections live. Every method is atomic; errors are vicinal's."""

    @property
    def capabilities(self) -> Capabilities:
        """Return what this backend has."""
        ...

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        ...

    def describe(self, name: str, *, count: bool = False) -> CollectionInfo:
        """Return a collection, with its number of rows if asked. Raises NotFound."""
        ...

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """Create a collection. Raises AlreadyExists."""
        ...

    def drop(self, name: str) -> None:
        """Delete a collection. Raises NotFound."""
        ...

    def rename(self, name: str, new_name: str) -> None:
        """Give a collection another name. Raises NotFound or AlreadyExists."""
        ...

    def write(self, name: str, batch: Batch, mode: WriteMode) -> list[Id]:
        """Add, replace or patch rows, all or none; return their ids once durable."""
        ...

    def patch(
        self,
        name: str,
        where: Node | None,
        *,
        patch: str | None,
        unset: Sequence[str],
        expires: int | None,
        set_expires: bool,
    ) -> int:
        """Patch metadata and expiry of all rows that pass, alike; return how many."""
        ...

    def delete(self, name: str, ids: list[Id] | None, where: Node | None) -> int:
        """Delete rows by id, by filter, or those ids that match; return how many."""
        ...

    def get(self, name: str, request: GetRequest) -> Rows:
        """Return rows by id or by filter."""
        ...

    def count(self, name: str, where: Node | None) -> int:
        """Return how many rows pass."""
        ...

    def exists(self, name: str, identity: Id) -> bool:
        """Return whether a row of that id exists."""
        ...

    def page(
        self, name: str, after: int, limit: int, where: Node | None, include: Sequence[Include]
    ) -> tuple[Rows, int] | None:
        """Return up to `limit` passing rows behind a row number, and the last number read; None at the end."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Bind one read snapshot to this context."""
        ...

    def search(self, name: str, request: SearchRequest) -> list[Hits]:
        """Return one `Hits` per query, min(k, passing) rows each, ties by id."""
        ...

    def search_arrays(self, name: str, request: SearchRequest) -> BatchHits:
        """Return ids, distances and scores as arrays (n, k), padded."""
        ...

    def sample(self, name: str, field: str, n: int) -> tuple[list[Id], NDArray[np.generic]]:
        """Return the ids and the vectors (up to n, width) of rows chosen at random, always the same."""
        ...

    def explain(self, name: str, request: SearchRequest) -> Explanation:
        """Run a search and return how it was answered."""
        ...

    def index(
        self, name: str, using: str | None, choice: IndexChoice, progress: Callable[[int, int], None] | None
    ) -> dict[str, object]:
        """Store which kind of index a field has, and make it now; return what was made.

        Raises Unsupported where the kind does not suit the field.
        """
        ...

    def unreachable(self, name: str, using: str | None) -> int | None:
        """Return how many rows no walk through a field's graph comes to; None where there is no graph."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Bind one write transaction to this context; nested: a savepoint."""
        ...

    def execute(self, sql: str, parameters: object) -> list[tuple[object, ...]]:
        """Run SQL on the user's own tables. Raises Unsupported where there is no SQL."""
        ...

    def backup(self, path: str | os.PathLike[str], progress: Callable[[int, int], None] | None) -> None:
        """Write a consistent copy to a new file."""
        ...

    def verify(self, *, repair: bool, progress: Callable[[int, int], None] | None) -> Report:
        """Check everything; with `repair`, rebuild what is derived."""
        ...

    def compact(self, progress: Callable[[int, int], None] | None, *, beside_codes: bool) -> dict[str, int]:
        """Do all maintenance now, with `beside_codes` also what takes minutes; return bytes before and after."""
        ...

    def stats(self) -> dict[str, object]:
        """Return sizes, and rows per collection."""
        ...

    def close(self) -> None:
        """Close; a second call does nothing."""
        ...
