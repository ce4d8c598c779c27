"""Graphs and lists that are damaged, builds that are killed, and processes that build at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import FULL, Worker

SCRIPT = Path(__file__).with_name("structures_worker.py")
START = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
KINDS = ("hnsw", "ivf", "scann", "beside")


def child(verb: str, *arguments: object) -> Worker:
    return Worker("", SCRIPT, verb, *arguments, code=START)


@pytest.mark.timeout(1600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cases", [pytest.param(25, id="fast"), pytest.param(400, id="full", marks=FULL)])
def test_damage_costs_time_and_no_answers(tmp_path, kind, cases):
    path = tmp_path / "app.db"
    child("build", path, kind).finish()
    half = cases // 2
    workers = [child("damage", path, kind, 0, half), child("damage", path, kind, half, cases)]
    lines = [line for worker in workers for line in worker.finish()]
    assert sum(line.startswith("noted") for line in lines) == cases
    assert sum(line == "noted 0" for line in lines) < cases / 2


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [0, 1, 3, 10_000])
def test_a_killed_build_leaves_nothing_behind(tmp_path, kind, pieces):
    path = tmp_path / "app.db"
    child("prepare", path, kind).finish()
    worker = child("slow", path, kind, pieces)
    while worker.line() != "stopped":
        pass
    worker.process.kill()
    worker.process.wait()
    assert child("audit", path, kind).finish()[-1] == "good"


def test_processes_build_one_after_the_other(tmp_path):
    path = tmp_path / "app.db"
    child("prepare", path, "hnsw").finish()
    workers = [child("race", path, "hnsw") for _ in range(3)]
    for worker in workers:
        assert worker.line() == "ready"
    for worker in workers:
        worker.say("go")
    assert all(int(worker.finish()[-1]) > 1200 for worker in workers)
