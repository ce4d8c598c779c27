"""`vicinal tune` measures the kinds of index on a sample, advises one, and applies it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import vicinal
from vicinal.tuning import advise, tune
from vicinal.tuning.trials import Point, Trial, Tuning

KINDS = ["flat", "scan bits=1", "scan bits=2", "hnsw M=16", "hnsw M=32", "ivf", "scann"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "app.db"
    rng = np.random.default_rng(0)
    with vicinal.connect(path, maintenance=False) as db:
        docs = db.collection("docs", dim=16, metric="l2")
        docs.add(ids=list(range(2000)), vectors=rng.standard_normal((2000, 16)).astype(np.float32))
    return path


def test_a_table_and_an_advice(run, file):
    result = run("tune", file, "--sample", 1200)
    lines = result.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[:8]] == ["kind", *KINDS]
    assert lines[0].endswith("p50 ms at 2,000 rows, extrapolated")
    assert lines[-2] == "measured on 1,200 of 2,000 rows with 200 others as queries"
    assert lines[-1].startswith("advice: ")
    assert "extrapolated from 1,200 rows" in lines[-1]
    assert result.stderr == ""


def test_json_and_apply(run, file):
    found = json.loads(run("tune", file, "--apply", "--json").stdout)
    assert (found["rows"], found["sample"], found["queries"]) == (2000, 1800, 200)
    assert [trial["kind"] for trial in found["trials"]] == [name.split()[0] for name in KINDS]
    for trial in found["trials"]:
        assert all(point["recall"] > point["asked"] - 0.06 and point["p50_ms"] > 0 for point in trial["points"])
    assert found["applied"]["kind"] == found["advice"]["kind"]
    with vicinal.connect(file, maintenance=False) as db:
        (stored,) = db.execute("select spec -> 'index' -> 'vector' ->> 'kind' from vicinal_collection")
        assert stored == (found["advice"]["kind"],)


def test_kinds_that_do_not_suit_are_named(run, tmp_path):
    with vicinal.connect(tmp_path / "bits.db") as db:
        bits = np.random.default_rng(0).integers(0, 256, (600, 4), np.uint8)
        db.collection("docs", dim=32, dtype="bit").add(ids=list(range(600)), vectors=bits)
    lines = run("tune", "bits.db").stdout.splitlines()
    assert "not for bit by hamming" in lines[2]
    assert lines[-1].startswith("advice: flat")


def test_a_plot(run, file, tmp_path):
    pytest.importorskip("matplotlib")
    run("tune", file, "--sample", 500, "--plot", "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 5000


def test_refusals(run, file, tmp_path, monkeypatch):
    assert "ends in .svg" in run("tune", file, "--plot", "curve.txt", code=2).stderr
    assert "'elsewhere'" in run("tune", file, "--using", "elsewhere", code=2).stderr
    with vicinal.connect(tmp_path / "small.db") as db:
        db.collection("docs", dim=2).add(vectors=[[1, 2]])
    assert "too few" in run("tune", "small.db", code=2).stderr
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert 'pip install "vicinal[bench]"' in run("tune", file, "--plot", "curve.svg", code=1).stderr


def trial(kind, p50_ms, recall=0.96, smaller=None, **parameters):
    points = (Point(asked=0.95, recall=recall, p50_ms=p50_ms, plan=kind),)
    return Trial(kind=kind, parameters=parameters, rows=1000, build_seconds=2.0, points=points, smaller=smaller)


def measured(*trials, rows=1000):
    about = {"collection": "docs", "field": "vector", "dim": 16, "queries": 200, "k": 10, "recall": 0.95}
    return Tuning(**about, rows=rows, sample=1000, call_ms=0.1, trials=trials)


def test_what_needs_building_must_be_worth_it():
    scan = trial("scan", 0.50, bits=2)
    assert advise(measured(scan, trial("hnsw", 0.45, M=16))).kind == "scan"
    assert advise(measured(scan, trial("hnsw", 0.20, M=16))).parameters == {"M": 16}
    assert advise(measured(scan, trial("hnsw", 0.20, recall=0.8, M=16))).kind == "scan"


def test_latency_is_extrapolated_by_how_it_grew():
    flat, scan = trial("flat", 1.1), trial("scan", 0.3, bits=1)
    graph = trial("hnsw", 0.3, smaller=(250, 0.2), M=16)
    found = advise(measured(flat, scan, graph, rows=100_000))
    assert found.extrapolated
    assert [each.p50_ms for each in found.forecasts] == pytest.approx([100.1, 0.1 + 0.2 * 100**1.05, 0.1 + 0.2 * 10])
    assert found.kind == "hnsw"
    assert "extrapolated from 1,000 rows, not measured" in found.text
    assert not advise(measured(flat, scan, graph)).extrapolated


def test_a_scan_of_a_sample_as_fast_as_a_call_still_reads_all_codes():
    flat, scan = trial("flat", 1.1), trial("scan", 0.1, bits=2)
    found = advise(measured(flat, scan, rows=100_000)).forecasts[1]
    assert found.p50_ms > 0.7 * 2 / 32 * 100
    assert advise(measured(flat, scan)).forecasts[1].p50_ms == pytest.approx(0.1)


def test_progress_and_figures_are_told(file):
    seen = []
    with vicinal.connect(file, maintenance=False) as db:
        found = tune(db.collection("docs"), sample=300, recall=0.9, progress=lambda done, _what: seen.append(done))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)
    assert found.trials[0].at(0.9) is None  # flat is asked once
    assert found.trials[0].points[0].recall == 1.0
    assert found.trials[3].refused == "too few rows to build it"
