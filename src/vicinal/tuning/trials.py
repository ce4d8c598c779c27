"""Trials: a kind of index built over a sample and asked for several recalls."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

import vicinal
from vicinal.errors import InvalidInput, Unsupported, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Progress = Callable[[float, str], None]

SAMPLE: Final = 50_000
K: Final = 10
KINDS: Final[tuple[tuple[str, Mapping[str, int]], ...]] = (
    ("flat", {}),
    ("scan", {"bits": 1}),
    ("scan", {"bits": 2}),
    ("hnsw", {"M": 16}),
    ("hnsw", {"M": 32}),
    ("ivf", {}),
    ("scann", {}),
)
_RECALLS: Final = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
_QUERIES: Final = 200
_FEWEST: Final = 100
_WARM: Final = 20
_SMALLER: Final = 4
"""A second, so many times smaller sample tells how latency grows with the rows."""
_FEWEST_SMALLER: Final = 4000
_BATCH: Final = 5000
_TOLERANCE: Final = 1e-6
_HELD_TWICE: Final = 2
"""Codes are held plain and arranged for the scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One recall asked for: the `recall` found, the median milliseconds of a search, and the plan that was used."""

    asked: float
    recall: float
    p50_ms: float
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A kind with its parameters over `rows` rows; `refused` says why there are no points.

    nbytes: of the index in the file. memory_bytes: about what it holds in memory, the vectors not counted.
    smaller: rows and milliseconds at the asked recall of the same kind over a smaller sample.
    """

    kind: str
    parameters: dict[str, int]
    rows: int = 0
    build_seconds: float = 0.0
    nbytes: int = 0
    memory_bytes: int = 0
    points: tuple[Point, ...] = ()
    smaller: tuple[int, float] | None = None
    refused: str | None = None

    @property
    def name(self) -> str:
        """The kind and the parameters that were given, such as `hnsw M=16`."""
        return " ".join([self.kind, *(f"{name}={value}" for name, value in self.parameters.items())])

    def at(self, asked: float) -> Point | None:
        """Return the point of a recall asked for."""
        return next((point for point in self.points if point.asked == asked), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was measured: of a collection of `rows`, on a sample of `sample` rows with `queries` held out of it."""

    collection: str
    field: str
    dim: int
    rows: int
    sample: int
    queries: int
    k: int
    recall: float
    call_ms: float
    """Median of a search among a hundred rows: what every search costs, whatever its kind."""
    trials: tuple[Trial, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def tune(
    collection: vicinal.Collection,
    *,
    using: str | None = None,
    sample: int = SAMPLE,
    recall: float = 0.95,
    progress: Progress | None = None,
) -> Tuning:
    """Measure the kinds on up to `sample` rows of a collection, chosen at random, with other rows as queries.

    progress: told the share done, from 0 to 1, and what is done now. Raises InvalidInput where there are fewer than
    a few hundred vectors, or where `sample` or `recall` cannot be. Cost: one minute for 50,000 rows of 256 dimensions.
    """
    if not 0 < recall < 1 or sample < _FEWEST:
        message = f"tuning takes a recall between 0 and 1 and a sample of at least {_FEWEST} rows"
        raise InvalidInput(message)
    report = progress or (lambda _done, _what: None)
    spec = _field_of(collection, using)
    report(0.0, "reading a sample")
    total, vectors = _sample(collection, spec["name"], sample + _QUERIES)
    n_queries = min(_QUERIES, len(vectors) // 4)
    if n_queries < _FEWEST // 4:
        message = f"{len(vectors):,} vectors are too few to measure anything: every kind is fast enough"
        raise InvalidInput(message)
    queries, rows = vectors[:n_queries], vectors[n_queries:]
    with tempfile.TemporaryDirectory(prefix="vicinal-tune-") as folder:
        bench = _Bench(Path(folder), spec, queries, recall)
        call_ms = bench.call_ms(rows)
        smaller = (
            rows[: len(rows) // _SMALLER] if len(rows) // _SMALLER >= _FEWEST_SMALLER and total > len(rows) else None
        )
        trials = bench.run(rows, smaller, report)
    return Tuning(
        collection=collection.name,
        field=spec["name"],
        dim=int(spec["dim"] or 0),
        rows=total,
        sample=len(rows),
        queries=n_queries,
        k=K,
        recall=recall,
        call_ms=call_ms,
        trials=trials,
    )


def _field_of(collection: vicinal.Collection, using: str | None) -> dict[str, Any]:
    fields = cast("list[dict[str, Any]]", collection.info()["fields"])
    chosen = [each for each in fields if using in (None, each["name"])]
    if len(chosen) != 1:
        names = ", ".join(repr(each["name"]) for each in fields)
        unknown = "" if using is None else f"no vector field {shorten(using)}; "
        message = f"{unknown}{collection.name!r} has the vector fields {names}: name one of them with using"
        raise InvalidInput(message)
    return chosen[0]


def _sample(collection: vicinal.Collection, field: str, n: int) -> tuple[int, NDArray[Any]]:
    """Return how many rows there are, and the vectors (up to n, width) of some chosen at random, in random order."""
    ids = collection.get(include=()).ids
    chosen = np.random.default_rng(len(ids)).permutation(len(ids))[:n]
    found: list[NDArray[Any]] = []
    for start in range(0, len(chosen), _BATCH):
        rows = collection.get([ids[at] for at in np.sort(chosen[start : start + _BATCH])], include=("vector",))
        found += [each[field] for each in rows.vectors or [] if field in each]
    order = np.random.default_rng(1).permutation(len(found))
    return len(ids), np.stack([found[at] for at in order]) if found else np.empty((0, 0), np.float32)


class _Bench:
    """A temporary database with the sample, and how kinds do on it."""

    def __init__(self, folder: Path, spec: dict[str, Any], queries: NDArray[Any], recall: float) -> None:
        self._folder = folder
        self._spec = {name: spec[name] for name in ("dim", "dtype", "metric")}
        self._queries = queries
        self._recall = recall

    def call_ms(self, rows: NDArray[Any]) -> float:
        """Return the milliseconds of a search among hardly any rows."""
        with self._filled(rows[:_FEWEST]) as db:
            return self._asked(db.collection("sample"), 1.0)[1]

    def run(self, rows: NDArray[Any], smaller: NDArray[Any] | None, report: Progress) -> tuple[Trial, ...]:
        """Return one trial per kind."""
        before: dict[int, tuple[int, float]] = {}
        steps = len(KINDS) * (2 if smaller is not None else 1)
        if smaller is not None:
            with self._filled(smaller) as db:
                docs, exact = self._exact(db)
                for at, (kind, parameters) in enumerate(KINDS):
                    report(at / steps / 2, f"{kind}, {len(smaller):,} rows")
                    trial = self._trial(docs, exact, kind, parameters, (self._recall,))
                    if trial.points:
                        before[at] = (len(smaller), trial.points[0].p50_ms)
        start = 0.25 if smaller is not None else 0.0
        trials = []
        with self._filled(rows) as db:
            docs, exact = self._exact(db)
            recalls = sorted({*_RECALLS, self._recall})
            for at, (kind, parameters) in enumerate(KINDS):
                report(start + (1 - start) * at / len(KINDS), f"{kind}, {len(rows):,} rows")
                trial = self._trial(docs, exact, kind, parameters, recalls)
                trials.append(_with_smaller(trial, before.get(at)))
        report(1.0, "")
        return tuple(trials)

    def _trial(
        self,
        docs: vicinal.Collection,
        exact: Sequence[NDArray[np.float32]],
        kind: str,
        parameters: Mapping[str, int],
        recalls: Sequence[float],
    ) -> Trial:
        given: dict[str, Any] = dict(parameters)
        try:
            built = docs.index(kind, **given)
        except Unsupported as error:
            return Trial(kind=kind, parameters=given, refused=str(error))
        if kind != "flat" and not built["rows"]:
            return Trial(kind=kind, parameters=given, refused="too few rows to build it")
        points = []
        for asked in recalls if kind != "flat" else (recalls[-1],):
            found, milliseconds = self._asked(docs, asked)
            shares = [_share(mine, true) for mine, true in zip(found, exact, strict=True)]
            plan = docs.explain(vector=self._queries[0], k=K, recall=asked).plan
            points.append(Point(asked=asked, recall=float(np.mean(shares)), p50_ms=milliseconds, plan=plan))
        return Trial(
            kind=kind,
            parameters=given,
            rows=cast("int", built["rows"]),
            build_seconds=cast("float", built["seconds"]),
            nbytes=cast("int", built["bytes"]),
            memory_bytes=cast("int", built["bytes"]) * (_HELD_TWICE if kind in ("scan", "scann") else 1),
            points=tuple(points),
        )

    def _asked(self, docs: vicinal.Collection, recall: float) -> tuple[list[NDArray[np.float32]], float]:
        """Return the distances found for each query, and the median milliseconds of a search."""
        for query in self._queries[:_WARM]:
            docs.search(vector=query, k=K, recall=recall, include=())
        found, times = [], []
        for query in self._queries:
            started = time.perf_counter()
            hits = docs.search(vector=query, k=K, recall=recall, include=())
            times.append(time.perf_counter() - started)
            found.append(hits.distances)
        return found, float(np.median(times)) * 1000

    def _exact(self, db: vicinal.Database) -> tuple[vicinal.Collection, list[NDArray[np.float32]]]:
        docs = db.collection("sample")
        docs.index("flat")
        return docs, [docs.search(vector=query, k=K, exact=True, include=()).distances for query in self._queries]

    def _filled(self, rows: NDArray[Any]) -> vicinal.Database:
        """Return a new database that holds these rows as the collection `sample`."""
        path = self._folder / f"{len(rows)}-{time.monotonic_ns()}.db"
        db = vicinal.connect(path, maintenance=False, durability="relaxed")
        docs = db.collection("sample", **self._spec)
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            docs.add(ids=list(range(start, start + len(part))), vectors=part)
        return db


def _with_smaller(trial: Trial, smaller: tuple[int, float] | None) -> Trial:
    return Trial(**{name: getattr(trial, name) for name in Trial.__slots__ if name != "smaller"}, smaller=smaller)


def _share(found: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the share of the true nearest that was found; ties count."""
    limit = float(exact[-1])
    return min(1.0, np.count_nonzero(found <= limit + _TOLERANCE * abs(limit)) / len(exact))
