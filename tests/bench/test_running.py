"""A run: what it records, how failures look, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from vicinal.bench import Dataset, Plan, QuerySet, chosen, run
from vicinal.bench.job import Job
from vicinal.bench.process import EngineProcess
from vicinal.bench.record import SCHEMA
from vicinal.errors import InvalidInput

SEARCH = {
    "effort", "effort_value", "queries", "n_queries", "recall",
    "p50_ms", "p95_ms", "p99_ms", "clients_qps", "batch_qps",
}  # fmt: skip
LOAD = {"rows", "add_s", "build_s", "memory_bytes", "peak_memory_bytes", "disk_bytes"}
ENGINE = {"name", "version", "durability", "live", "load", "searches", "inserts", "error"}


@pytest.fixture(scope="module")
def record(dataset, plan):
    return run(dataset, chosen(["vicinal", "numpy"]), plan)


def test_recall_of_the_exact_engines_is_one(record):
    numpy = record.engines[1]
    assert [search.recall for search in numpy.searches] == [1.0, 1.0]
    exact = [search for search in record.engines[0].searches if search.effort == "exact"]
    assert [search.recall for search in exact] == [1.0, 1.0]


def test_query_sets_are_reported_apart(record):
    assert {search.queries for search in record.engines[1].searches} == {"held-out", "out-of-distribution"}
    assert [each["name"] for each in record.dataset["queries"]] == ["held-out", "out-of-distribution"]
    # Throughput is measured on the first only.
    assert [search.batch_qps is None for search in record.engines[1].searches] == [False, True]


def test_effort_is_a_curve(record):
    efforts = [search.effort for search in record.engines[0].searches if search.queries == "held-out"]
    assert efforts == ["recall=0.9", "recall=0.95", "recall=0.99", "exact"]


def test_json_has_its_schema(record, tmp_path):
    record.write(tmp_path / "figures.json")
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
    stored = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert stored["schema"] == SCHEMA == "vicinal-bench/1"
    assert set(stored) == {"schema", "dataset", "plan", "engines", "machine", "versions", "created", "notes"}
    assert {"name", "rows", "dim", "metric", "queries", "generated"} <= set(stored["dataset"])
    assert {"processor", "cores", "memory_bytes", "system"} <= set(stored["machine"])
    assert {"python", "vicinal", "numpy"} == set(stored["versions"])
    for engine in stored["engines"]:
        assert set(engine) == ENGINE
        assert set(engine["load"]) == LOAD
        assert all(set(search) == SEARCH for search in engine["searches"])
        assert all(set(each) == {"batch_size", "rows", "seconds", "rows_per_s"} for each in engine["inserts"])


def test_what_is_occupied(record):
    vicinal, numpy = record.engines
    payload = 600 * 8 * 4
    assert vicinal.load.disk_bytes >= payload
    assert numpy.load.disk_bytes == 0
    assert numpy.load.peak_memory_bytes >= numpy.load.memory_bytes >= 0
    assert (vicinal.durability, numpy.durability) == ("synced", "memory")


def test_batches_larger_than_the_data_are_left_out(record):
    assert [insert.batch_size for insert in record.engines[1].inserts] == [1, 100]
    assert all(insert.rows_per_s == pytest.approx(insert.rows / insert.seconds) for insert in record.engines[1].inserts)


def test_efforts_of_ones_own(dataset, plan):
    record = run(dataset, chosen(["faiss-hnsw"]), replace(plan, batch_sizes=(), efforts={"faiss": (5, 100)}))
    assert [search.effort for search in record.engines[0].searches[::2]] == ["ef=5", "ef=100"]
    assert record.engines[0].searches[-2].recall > 0.95
    with pytest.raises(InvalidInput, match="efforts for 'zvec', which is not measured"):
        run(dataset, chosen(["numpy"]), replace(plan, efforts={"zvec": (5,)}))


def test_a_failure_is_one_line_and_the_others_go_on(dataset, plan, tmp_path):
    pytest.importorskip("sqlite_vec")
    seen = []
    data = replace(dataset, metric="dot")
    record = run(data, chosen(["sqlite-vec", "numpy"]), plan, folder=tmp_path, measured=seen.append)
    assert record.engines[0].error == "Unsupported: sqlite-vec has no metric 'dot'"
    assert record.engines[0].searches == ()
    assert record.engines[1].error is None
    assert [len(each.engines) for each in seen] == [1, 2]
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_takes_too_long_is_stopped(dataset):
    slow = Plan(k=5, threads=1, seconds=60, timeout=1.5)
    assert run(dataset, chosen(["numpy"]), slow).engines[0].error == "stopped after 2 s"


def test_progress_goes_up_to_the_end(dataset, plan):
    seen = []
    run(dataset, chosen(["numpy"]), plan, progress=lambda done, detail="": seen.append((done, detail)))
    assert seen == sorted(seen, key=lambda each: each[0])
    assert seen[0][1] == "exact answers"
    assert 0.8 < seen[-1][0] <= 1


def test_distances_in_the_file_are_compared(dataset, plan):
    queries = dataset.queries[:1]
    stated = np.full((40, 10), 0.5)
    record = run(replace(dataset, queries=queries, distances=stated), chosen(["numpy"]), replace(plan, batch_sizes=()))
    assert record.notes == ("the distances that the file states differ from those computed, which are used",)


def test_what_cannot_be_run(dataset, plan, tmp_path):
    few = Dataset(name="few", metric="l2", vectors=np.ones((3, 2), np.float32), queries=())
    with pytest.raises(InvalidInput, match="few has 3 rows, fewer than k=5"):
        run(few, chosen(["numpy"]), plan)
    with pytest.raises(InvalidInput, match="no folder"):
        run(dataset, chosen(["numpy"]), plan, folder=tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"k": 0}, "k is between 1 and 1,000, not 0"),
        ({"threads": 0}, "threads is between"),
        ({"seconds": 0}, "seconds is between"),
        ({"batch_sizes": (0,)}, "a batch size is between"),
        ({"efforts": {"vicinal": ()}}, "efforts of 'vicinal' are numbers above 0"),
        ({"efforts": {"vicinal": (-1,)}}, "efforts of 'vicinal' are numbers above 0"),
    ],
)
def test_plans_that_make_no_sense(options, reason):
    with pytest.raises(InvalidInput, match=reason):
        Plan(**options)


# --- processes


@pytest.fixture
def job(tmp_path, dataset):
    np.save(tmp_path / "rows.npy", dataset.vectors)
    np.save(tmp_path / "queries-0.npy", dataset.queries[0].vectors)
    folder = tmp_path / "engine"
    folder.mkdir()
    return Job(
        engine="numpy", data=str(tmp_path), folder=str(folder), metric="cosine", k=5, threads=1, seconds=60,
        batch_sizes=(), query_sets=("held-out",),
    )  # fmt: skip


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_crash_is_told_by_its_signal(job):
    with EngineProcess(job, 60) as process:
        messages = process.messages()
        next(messages)
        os.kill(process._process.pid, signal.SIGSEGV)
        list(messages)
        assert process.error.startswith("ended by SIGSEGV")


def test_leaving_early_ends_the_process(job):
    with EngineProcess(job, 60) as process:
        pid = process._process.pid
        next(message for message in process.messages() if message.get("stage") == "searching")
    assert not is_running(pid)
    assert threading.active_count() < 10


def test_a_process_without_parent_ends(job):
    with EngineProcess(job, 60) as process:
        messages = process.messages()
        next(messages)
        process._process.stdin.close()  # as when the parent is killed
        list(messages)
        assert process.error is not None


def test_a_query_set_alone(dataset, plan):
    own = (QuerySet(name="mine", vectors=dataset.queries[0].vectors[:3]),)
    record = run(replace(dataset, queries=own), chosen(["numpy"]), replace(plan, batch_sizes=()))
    assert [(search.queries, search.n_queries) for search in record.engines[0].searches] == [("mine", 3)]
