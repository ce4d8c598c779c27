"""Opening a database, and what concerns all of its collections."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, cast

from vicinal.backend import CollectionSpec, FieldSpec
from vicinal.collection import Collection
from vicinal.embedding import dimension_of, resolve
from vicinal.engine.embedded import EmbeddedBackend
from vicinal.errors import AlreadyExists, Closed, InvalidInput, NotFound, SpecMismatch, Unsupported, shorten
from vicinal.settings import MAX_NAME_CHARACTERS, Settings, parse_bytes
from vicinal.storage.connection import locate
from vicinal.values import check_text
from vicinal.vectors import VectorSpec

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vicinal.backend import Backend, Capabilities, CollectionInfo
    from vicinal.embedding import Embedder, EmbedderSpec
    from vicinal.report import Report
    from vicinal.settings import Durability

DEFAULT_FIELD = "vector"
_FIELD_KEYS = ("dim", "dtype", "metric")
_DEFAULT_DIM = 8  # of the spec that checks type and metric while the dimension is not known


def connect(  # noqa: PLR0913 - each an independent option
    path: str | os.PathLike[str],
    *,
    read_only: bool = False,
    timeout: float = 5.0,
    durability: Durability = "full",
    memory_budget: int | str | None = None,
    threads: int | None = None,
    maintenance: bool = True,
    clock: Callable[[], float] = time.time,
) -> Database:
    """Open the database in file `path`, creating the file if need be; `":memory:"` is gone when closed.

    An SQLite file made by another program can be opened too: vicinal's tables are added beside
    those it has when the first collection is created.

    timeout: seconds to wait for another writer before `Locked`.
    durability: "full" (a returned write survives power loss) or "relaxed" (power loss may take the
        last writes, never the file).
    memory_budget: vectors kept in memory, in bytes or as "256MB"; beyond it they are streamed from
        the file; by default half of the machine's memory.
    threads: of one search; default: the number of cores, at most 8. With 1, commits also copy the log into the
        file themselves, which a thread does otherwise.
    maintenance: give space back, and make codes of rows that came in small writes, in a background thread; without it,
        `compact` does.
    clock: the current time in seconds since 1970, against which rows expire.

    Raises NotFound, NotADatabase, UnsupportedVersion, Corrupted, StorageError or InvalidInput.

    >>> with connect(":memory:") as db:
    ...     docs = db.collection("docs", dim=2)
    ...     docs.add(ids=["a", "b"], vectors=[[1, 0], [0, 1]])
    ...     docs.search([1, 0.1], k=1).ids
    ['a', 'b']
    ['a']
    """
    if not callable(clock):
        message = f"clock is a function that returns seconds since 1970, not {shorten(clock)}"
        raise InvalidInput(message)
    if isinstance(path, str) and (found := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", path)):
        message = f"{path!r}: this version opens files; {found[0]!r} addresses are not served"
        raise Unsupported(message)
    settings = Settings(
        timeout=timeout,
        durability=durability,
        read_only=read_only,
        maintenance=maintenance,
        **({} if memory_budget is None else {"memory_budget": parse_bytes(memory_budget)}),
        **({} if threads is None else {"threads": threads}),
    )
    return Database(EmbeddedBackend(locate(path, read_only=read_only), settings, clock), clock)


class Database:
    """An open database; share it between threads and tasks, close it at the end.

    It is a context manager that closes itself.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.time) -> None:
        self._backend = backend
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        """What the backend behind this database can do."""
        return self._backend.capabilities

    def collection(  # noqa: PLR0913 - the specification of a collection, each part optional
        self,
        name: str,
        *,
        dim: int | None = None,
        metric: str | None = None,
        dtype: str | None = None,
        vectors: Mapping[str, Mapping[str, object]] | None = None,
        embedder: EmbedderSpec | None = None,
        quantize: str | None = None,
    ) -> Collection:
        """Open a collection; with a specification, create it where it does not exist.

        dim: numbers per vector; by default what the embedder gives, or the first vector has.
        metric: "cosine" (default), "l2", "dot", "l1"; "hamming" for bits.
        dtype: "f32" (default), "f16", "i8" or "bit": how vectors are stored.
        vectors: several vector fields, such as `{"title": {"dim": 384}, "image": {"dim": 512}}`;
            an embedder then fills the first.
        embedder: a name such as "wordllama", a function from texts to vectors, or an `Embedder`.
        quantize: "unit" lets floats in [-1, 1] into an "i8" field.

        Raises NotFound where nothing is specified and it does not exist; SpecMismatch where the
        stored specification differs; InvalidInput for an impossible one.
        """
        _check_name(name)
        model = None if embedder is None else resolve(embedder)
        fields = _field_specs(dim, metric, dtype, vectors, model)
        wanted = bool(fields) or quantize is not None
        try:
            info = self._backend.describe(name)
        except NotFound:
            if not wanted:
                raise
        else:
            _check_same(info, _default_fields(fields, info), model, quantize)
            return Collection(self._backend, info, model, self._clock)
        if quantize is not None:
            _check_quantize(quantize, fields)
        spec = CollectionSpec(
            name=name,
            fields=tuple(_complete(entry) for entry in fields or ({"name": DEFAULT_FIELD},)),
            embedder=None if model is None else model.identity,
            quantize=quantize,
        )
        try:
            info = self._backend.create(spec)
        except AlreadyExists:  # another thread or process was faster
            return self.collection(
                name,
                dim=dim,
                metric=metric,
                dtype=dtype,
                vectors=vectors,
                embedder=embedder,
                quantize=quantize,
            )
        return Collection(self._backend, info, model, self._clock)

    def collections(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return self._backend.names()

    def drop(self, name: str) -> None:
        """Delete a collection and everything in it; its space is given back in the background."""
        self._backend.drop(name)

    def rename(self, name: str, new_name: str) -> None:
        """Give a collection another name. Raises NotFound or AlreadyExists."""
        _check_name(new_name)
        self._backend.rename(name, new_name)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Make everything inside the block one atomic change, also across collections and own tables.

        Commits at the end of the block, rolls back when it raises. Inside another transaction it is a
        savepoint. It belongs to the thread or task that opened it; others wait for it with their
        writes (`Locked` after the timeout) and do not see it.
        """
        with self._backend.transaction():
            transaction = Transaction(self)
            try:
                yield transaction
            finally:
                transaction._ended = True  # noqa: SLF001 - of this module

    def execute(
        self, sql: str, parameters: Sequence[object] | Mapping[str, object] | None = None
    ) -> list[tuple[object, ...]]:
        """Run SQL on the file's own tables, inside the transaction if there is one; return its rows.

        vicinal's own tables (`vicinal_…`) can be read, not written. All of it runs on one connection, one
        statement at a time, also queries: `Locked` where another thread's transaction holds it too long.
        """
        return self._backend.execute(sql, parameters)

    def backup(self, path: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None) -> None:
        """Write a consistent copy to a new file while the database is in use.

        `progress` is called with (pages done, pages in all). Raises AlreadyExists.
        """
        self._backend.backup(path, progress)

    def verify(self, *, repair: bool = False, progress: Callable[[int, int], None] | None = None) -> Report:
        """Check every page, row and vector; with `repair`, rebuild what can be derived.

        Rows and vectors themselves are never changed or removed by a repair.
        """
        return self._backend.verify(repair=repair, progress=progress)

    def compact(self, *, progress: Callable[[int, int], None] | None = None) -> dict[str, int]:
        """Give space back and bring codes and chosen indexes up to date, now; return bytes before and after.

        Never needed: the background thread does the same in small steps.
        """
        return self._backend.compact(progress, beside_codes=False)

    def maintain(self, *, progress: Callable[[int, int], None] | None = None) -> dict[str, int]:
        """Do what `compact` does, and what the background does when nothing was written for ten seconds.

        That is a graph beside the codes of each field with 250,000 rows or more, where memory has room for it and
        it is expected to be faster. Cost: up to 13 minutes of one processor per million rows of 256 dimensions.
        """
        return self._backend.compact(progress, beside_codes=True)

    def stats(self) -> dict[str, object]:
        """Return sizes of the file and the number of rows of each collection."""
        return self._backend.stats()

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Transaction:
    """The transaction of the with-block it comes from."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended = False

    def execute(
        self, sql: str, parameters: Sequence[object] | Mapping[str, object] | None = None
    ) -> list[tuple[object, ...]]:
        """Run SQL as part of the transaction; savepoints are fine, ending the transaction is not.

        Raises Closed when the with-block has ended.
        """
        if self._ended:
            message = "this transaction has ended; open another with db.transaction()"
            raise Closed(message)
        return self._database.execute(sql, parameters)


def _check_name(name: object) -> None:
    text = check_text(name, "a collection's name", 4 * MAX_NAME_CHARACTERS)
    if not 1 <= len(text) <= MAX_NAME_CHARACTERS or "\x00" in text:
        message = f"a collection's name has 1 to {MAX_NAME_CHARACTERS} characters and no NUL, not {shorten(name)}"
        raise InvalidInput(message)


_Given = dict[str, object]


def _field_specs(
    dim: int | None,
    metric: str | None,
    dtype: str | None,
    vectors: Mapping[str, Mapping[str, object]] | None,
    model: Embedder | None,
) -> tuple[_Given, ...]:
    """Return what was said of each vector field; empty where nothing was."""
    single = {"dim": dim, "dtype": dtype, "metric": metric}
    said = {key: value for key, value in single.items() if value is not None}
    if vectors is None:
        fields: list[_Given] = [{"name": DEFAULT_FIELD, **said}] if said or model is not None else []
    else:
        if said:
            message = f"give {', '.join(said)} within vectors=, per field"
            raise InvalidInput(message)
        if not vectors or not hasattr(vectors, "items"):
            message = f"vectors is a dict such as {{'title': {{'dim': 384}}}}, not {shorten(vectors)}"
            raise InvalidInput(message)
        fields = [_named(name, given) for name, given in vectors.items()]
    if model is not None:
        _fit_embedder(fields[0], model)
    return tuple(fields)


def _named(name: object, given: Mapping[str, object]) -> _Given:
    check_text(name, "a field's name", MAX_NAME_CHARACTERS)
    if not hasattr(given, "items") or set(given) - set(_FIELD_KEYS):
        message = f"vectors[{name!r}] is a dict of {', '.join(_FIELD_KEYS)}, not {shorten(given)}"
        raise InvalidInput(message)
    return {"name": name, **{key: value for key, value in given.items() if value is not None}}


def _fit_embedder(entry: _Given, model: Embedder) -> None:
    dim = dimension_of(model)
    if entry.get("dim", dim) != dim:
        message = f"dim={entry['dim']} contradicts the embedder {model.identity!r}, which gives {dim}"
        raise SpecMismatch(message)
    entry["dim"] = dim


def _check_quantize(quantize: object, fields: tuple[_Given, ...]) -> None:
    if quantize != "unit":
        message = f"quantize is 'unit' or None, not {shorten(quantize)}"
        raise InvalidInput(message)
    if not any(entry.get("dtype") == "i8" for entry in fields):
        message = "quantize='unit' is for vectors stored as dtype='i8'; none of the fields is"
        raise InvalidInput(message)


def _complete(given: _Given) -> FieldSpec:
    """Return a checked field with its defaults."""
    dim = cast("int | None", given.get("dim"))
    checked = VectorSpec(
        dim=_DEFAULT_DIM if dim is None else dim,
        dtype=given.get("dtype", "f32"),  # type: ignore[arg-type]
        metric=given.get("metric"),  # type: ignore[arg-type]
    )
    return FieldSpec(name=str(given["name"]), dim=dim, dtype=checked.dtype, metric=checked.metric)


def _default_fields(fields: tuple[_Given, ...], info: CollectionInfo) -> tuple[_Given, ...]:
    """Name the single unnamed field as the stored one."""
    if len(fields) == len(info.fields) == 1 and fields[0]["name"] == DEFAULT_FIELD:
        return ({**fields[0], "name": info.fields[0].name},)
    return fields


def _check_same(info: CollectionInfo, fields: tuple[_Given, ...], model: Embedder | None, quantize: str | None) -> None:
    """Refuse what contradicts the stored collection, with both values."""
    stored = {entry.name: entry for entry in info.fields}
    for given in fields:
        entry = stored.get(str(given["name"]))
        if entry is None:
            message = f"{info.name!r} has no vector field {given['name']!r}; there are: {', '.join(map(repr, stored))}"
            raise SpecMismatch(message)
        for key in _FIELD_KEYS:
            old = getattr(entry, key)
            if key in given and old is not None and given[key] != old:
                message = f"{info.name!r} was created with {key}={old!r}; {key}={given[key]!r} contradicts it"
                raise SpecMismatch(message)
    if model is not None and info.embedder != model.identity:
        message = (
            f"{info.name!r} holds vectors of {repr(info.embedder) if info.embedder else 'no embedder'}; "
            f"{model.identity!r} would not compare with them"
        )
        raise SpecMismatch(message)
    if quantize is not None and quantize != info.quantize:
        message = f"{info.name!r} was created with quantize={info.quantize!r}; {quantize!r} contradicts it"
        raise SpecMismatch(message)
