"""The catalogue, and every installed engine on small data in its own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vicinal.bench import Plan, Recipe, chosen, entries, generated, run
from vicinal.bench.engines.catalogue import adapter
from vicinal.errors import InvalidInput, MissingExtra

EXACT = {"numpy", "faiss-flat", "sqlite-vec", "qdrant-local"}


def names(engines):
    return [entry.name for entry in engines]


def test_default_and_families():
    assert names(chosen()) == ["vicinal", "numpy"]
    assert names(chosen(["faiss", "numpy", "faiss-pq"])) == ["faiss-flat", "faiss-hnsw", "faiss-pq", "numpy"]
    assert "numpy" in names(chosen(["all"]))


def test_unknown_names():
    with pytest.raises(InvalidInput, match="no engine 'fais'; did you mean 'faiss'"):
        chosen(["fais"])
    with pytest.raises(InvalidInput, match="--list"):
        chosen(["oracle"])


def test_what_is_not_installed_is_refused_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr("vicinal.bench.engines.catalogue.is_installed", lambda modules: not modules)
    with pytest.raises(MissingExtra, match="hnswlib is not installed: pip install hnswlib"):
        chosen(["hnswlib"])
    assert names(chosen(["all"])) == ["vicinal", "numpy"]


def test_every_engine_has_an_install_line_and_an_adapter():
    assert len({entry.name for entry in entries()}) == len(entries())
    for entry in entries():
        assert entry.install.startswith("pip install ")
        module, _, kind = entry.adapter.partition(":")
        imported = __import__(f"vicinal.bench.engines.{module}", fromlist=[kind])
        engine = getattr(imported, kind)
        assert engine.durability in ("memory", "file", "synced")
        assert bool(engine.efforts) == bool(engine.effort_name)


@pytest.mark.parametrize("entry", [each for each in entries() if not each.installed], ids=lambda each: each.name)
def test_an_adapter_whose_engine_is_missing_says_so(entry):
    with pytest.raises(MissingExtra, match="pip install"):
        adapter(entry)


def test_importing_the_room_imports_no_engine():
    program = "import sys, vicinal.bench; print({'faiss', 'hnswlib', 'matplotlib', 'h5py'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize("entry", [each for each in entries() if each.installed], ids=lambda each: each.name)
def test_an_installed_engine_finds_what_it_should(entry, dataset):
    plan = Plan(k=5, threads=1, batch_sizes=(100,), seconds=0.03, timeout=60)
    (engine,) = run(dataset, [entry], plan).engines
    assert engine.error is None, engine
    assert engine.load.rows == dataset.rows
    best = max(search.recall for search in engine.searches)
    assert best >= (1.0 if entry.name in EXACT else 0.95), engine
    assert [insert.batch_size for insert in engine.inserts] == [100]
    for search in engine.searches:
        assert 0 < search.p50_ms <= search.p95_ms <= search.p99_ms
        assert (search.batch_qps is None) == (search.queries != "held-out")


@pytest.mark.parametrize("metric", ["l2", "dot"])
def test_every_metric(metric):
    data = generated(Recipe(rows=300, dim=6, intrinsic=3, clusters=3, queries=20, metric=metric))
    plan = Plan(k=5, threads=1, batch_sizes=(), seconds=0.02, timeout=60)
    record = run(data, chosen(["vicinal", "numpy", "faiss-flat"]), plan)
    assert [max(search.recall for search in engine.searches) for engine in record.engines] == [1.0, 1.0, 1.0]
