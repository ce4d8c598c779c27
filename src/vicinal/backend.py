"""The waist: what every engine behind a `Database` can do, and how it says what it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from vicinal.batch import Batch
    from vicinal.filters import Node
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
    """A collection as it is: what `Collection.info` shows and what batches are prepared from."""

    version: int
    id_type: str | None
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
    def capabilities(self) -> Capabilities: ...

    def names(self) -> list[str]: ...

    def describe(self, name: str, *, count: bool = False) -> CollectionInfo: ...

    def create(self, spec: CollectionSpec) -> CollectionInfo: ...

    def drop(self, name: str) -> None: ...

    def rename(self, name: str, new_name: str) -> None: ...

    def write(self, name: str, batch: Batch, mode: WriteMode) -> list[Id]: ...

    def patch(
        self,
        name: str,
        where: Node | None,
        *,
        patch: str | None,
        unset: Sequence[str],
        expires: int | None,
        set_expires: bool,
    ) -> int: ...

    def delete(self, name: str, ids: list[Id] | None, where: Node | None) -> int: ...

    def get(self, name: str, request: GetRequest) -> Rows: ...

    def count(self, name: str, where: Node | None) -> int: ...

    def exists(self, name: str, identity: Id) -> bool: ...

    def page(
        self, name: str, after: int, limit: int, where: Node | None, include: Sequence[Include]
    ) -> tuple[Rows, int] | None: ...

    def snapshot(self) -> AbstractContextManager[None]: ...

    def search(self, name: str, request: SearchRequest) -> list[Hits]: ...

    def search_arrays(self, name: str, request: SearchRequest) -> BatchHits: ...

    def explain(self, name: str, request: SearchRequest) -> Explanation: ...

    def transaction(self) -> AbstractContextManager[None]: ...

    def execute(self, sql: str, parameters: object) -> list[tuple[object, ...]]: ...

    def backup(self, path: str, progress: Callable[[int, int], None] | None) -> None: ...

    def verify(self, *, repair: bool, progress: Callable[[int, int], None] | None) -> Report: ...

    def compact(self, progress: Callable[[int, int], None] | None) -> dict[str, int]: ...

    def stats(self) -> dict[str, object]: ...

    def close(self) -> None: ...
