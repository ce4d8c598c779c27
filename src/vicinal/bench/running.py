"""A run: the data go into a temporary folder, each engine into a process, and recall is counted here."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vicinal.bench.job import Job, found_file, queries_file, rows_file
from vicinal.bench.plan import Plan
from vicinal.bench.process import EngineProcess
from vicinal.bench.record import EngineRecord, Insert, Load, Record, Search, machine, now, versions
from vicinal.bench.truth import Truth, exact, recall
from vicinal.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vicinal.bench.dataset import Dataset
    from vicinal.bench.engines import Entry

__all__ = ["Progress", "run"]

_TRUTH_SHARE = 0.1
_STATED_TOLERANCE = 1e-3  # distances in files are float32, of vectors that were normalised before or not


class Progress(Protocol):
    """Shows how far the run has come: `done` from 0 to 1, and a few words."""

    def __call__(self, done: float, detail: str = "") -> None:
        """Move to `done`."""
        ...


def _silent(done: float, detail: str = "") -> None:
    """Show nothing."""


def run(
    dataset: Dataset,
    engines: Sequence[Entry],
    plan: Plan | None = None,
    *,
    folder: Path | None = None,
    progress: Progress = _silent,
    measured: Callable[[Record], None] | None = None,
) -> Record:
    """Measure engines on a data set, one after the other, and return the record.

    An engine that fails is recorded with its error. folder: where a temporary folder for data and databases
    is made; it is removed at the end, however the run ends. measured: called with what there is after each
    engine. On KeyboardInterrupt the running engine is ended first.
    """
    plan = plan or Plan()
    if dataset.rows < plan.k:
        message = f"{dataset.name} has {dataset.rows:,} rows, fewer than k={plan.k}"
        raise InvalidInput(message)
    if folder is not None and not folder.is_dir():
        message = f"no folder {str(folder)!r}"
        raise InvalidInput(message)
    known = {entry.name for entry in engines} | {entry.family for entry in engines}
    if strangers := sorted(set(plan.efforts) - known):
        message = f"efforts for {strangers[0]!r}, which is not measured; measured: {', '.join(sorted(known))}"
        raise InvalidInput(message)
    with tempfile.TemporaryDirectory(dir=folder, prefix="vicinal-bench-", ignore_cleanup_errors=True) as place:
        return _Run(dataset, plan, Path(place), progress).measure(engines, measured)


class _Run:
    """One run, with the exact answers it counts recall against."""

    def __init__(self, dataset: Dataset, plan: Plan, place: Path, progress: Progress) -> None:
        self.dataset, self.plan, self.place, self.progress = dataset, plan, place, progress
        self.notes: list[str] = []

    def measure(self, engines: Sequence[Entry], measured: Callable[[Record], None] | None) -> Record:
        np.save(rows_file(self.place), self.dataset.vectors)
        for at, queries in enumerate(self.dataset.queries):
            np.save(queries_file(self.place, at), queries.vectors)
        self.truths = [self._truth(at) for at in range(len(self.dataset.queries))]
        self._compare_stated()
        done: list[EngineRecord] = []
        record = self._record(done)
        for at, entry in enumerate(engines):
            done.append(self._engine(entry, at, len(engines)))
            record = self._record(done)
            if measured is not None:
                measured(record)
        return record

    def _truth(self, at: int) -> Truth:
        share = _TRUTH_SHARE / len(self.dataset.queries)
        return exact(
            self.dataset.vectors,
            self.dataset.queries[at].vectors,
            self.plan.k,
            self.dataset.metric,
            lambda done: self.progress(share * (at + done), "exact answers"),
        )

    def _compare_stated(self) -> None:
        """Note it where the file's own distances are others: then its metric may be another, or its rows."""
        stated = self.dataset.distances
        if stated is None or stated.shape[1] < self.plan.k:
            return
        found = self.truths[0].distances[: len(stated), -1]
        if not np.allclose(found, stated[: len(found), self.plan.k - 1], rtol=_STATED_TOLERANCE, atol=1e-5):
            self.notes.append("the distances that the file states differ from those computed, which are used")

    def _record(self, done: Sequence[EngineRecord]) -> Record:
        dataset = self.dataset
        return Record(
            dataset={
                "name": dataset.name,
                "rows": dataset.rows,
                "dim": dataset.dim,
                "metric": dataset.metric,
                "queries": [{"name": each.name, "n": len(each.vectors)} for each in dataset.queries],
                **dataset.about,
            },
            plan=asdict(self.plan),
            engines=tuple(done),
            machine=machine(),
            versions=versions(),
            created=now(),
            notes=tuple(self.notes),
        )

    def _engine(self, entry: Entry, at: int, n: int) -> EngineRecord:
        plan = self.plan
        folder = self.place / entry.name
        folder.mkdir()
        job = Job(
            engine=entry.name,
            data=str(self.place),
            folder=str(folder),
            metric=self.dataset.metric,
            k=plan.k,
            threads=plan.threads,
            seconds=plan.seconds,
            batch_sizes=plan.batch_sizes,
            query_sets=tuple(queries.name for queries in self.dataset.queries),
            efforts=plan.efforts.get(entry.name, plan.efforts.get(entry.family)),
        )
        collected = _Collected(self, entry, folder)

        def show(done: float, stage: str) -> None:
            self.progress(_TRUTH_SHARE + (1 - _TRUTH_SHARE) * (at + done) / n, f"{entry.name}: {stage}")

        with EngineProcess(job, plan.timeout) as process:
            for message in process.messages():
                if "progress" in message:
                    show(message["progress"], message["stage"])
                else:
                    collected.take(message)
            error = process.error
        return collected.record(error)

    def recall(self, which: int, found: Path) -> float:
        """Return the recall of the ids in a file for one set of queries."""
        dataset = self.dataset
        ids = np.load(found, allow_pickle=False)
        return recall(self.truths[which], dataset.vectors, dataset.queries[which].vectors, ids, dataset.metric)


class _Collected:
    """What an engine's process has said so far."""

    def __init__(self, run: _Run, entry: Entry, folder: Path) -> None:
        self._run, self._entry, self._folder = run, entry, folder
        self._about: dict[str, Any] = {}
        self._load: Load | None = None
        self._searches: list[Search] = []
        self._inserts: list[Insert] = []
        self._error: str | None = None

    def take(self, message: dict[str, Any]) -> None:
        if "load" in message:
            self._load = Load(**message["load"])
        elif "search" in message:
            effort, which = message["found"]
            found = self._run.recall(which, found_file(self._folder, effort, which))
            self._searches.append(Search(recall=found, **message["search"]))
        elif "insert" in message:
            self._inserts.append(Insert(**message["insert"]))
        elif "error" in message:
            self._error = message["error"]
        else:
            self._about = message

    def record(self, error: str | None) -> EngineRecord:
        return EngineRecord(
            name=self._entry.name,
            version=self._entry.version,
            durability=self._about.get("durability"),
            live=self._about.get("live"),
            load=self._load,
            searches=tuple(self._searches),
            inserts=tuple(self._inserts),
            error=self._error or error,
        )
