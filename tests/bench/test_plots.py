"""Plots are drawn where matplotlib is, and refused with the install line where it is not."""

from __future__ import annotations

import sys

import pytest

from vicinal.bench import check_plot, draw
from vicinal.bench.record import EngineRecord, Insert, Record, Search
from vicinal.errors import InvalidInput, MissingExtra, NotFound

QUERIES = ("held-out", "out-of-distribution")


def search(effort, queries, recall, p50_ms):
    return Search(
        effort=effort, effort_value=None, queries=queries, n_queries=9, recall=recall, p50_ms=p50_ms,
        p95_ms=2 * p50_ms, p99_ms=3 * p50_ms,
    )  # fmt: skip


@pytest.fixture
def record():
    engines = [
        EngineRecord(
            name=f"engine {at}",
            version="1",
            durability="file" if at % 2 else "memory",
            live=True,
            searches=tuple(
                search(f"ef={ef}", queries, min(1.0, 0.3 + ef / 100), 0.01 * ef + at)
                for queries in QUERIES
                for ef in (10, 50, 70)
            ),
            inserts=tuple(Insert(batch_size=n, rows=n, seconds=1, rows_per_s=n * at + 1) for n in (1, 10)),
        )
        for at in range(10)
    ]
    return Record(
        dataset={"name": "some data", "metric": "l2", "queries": [{"name": name} for name in QUERIES]},
        plan={"k": 10, "threads": 2},
        engines=(*engines, EngineRecord(name="broken", version=None, error="boom")),
        machine={},
        versions={},
        created="",
    )  # fmt: skip


@pytest.mark.parametrize(("suffix", "head"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_every_format(record, tmp_path, suffix, head):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"plot{suffix}"
    draw(record, path)
    assert path.read_bytes().startswith(head)
    assert path.stat().st_size > 10_000


def test_the_same_record_gives_the_same_file(record, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "two.svg"):
        draw(record, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_record_without_figures(record, tmp_path):
    pytest.importorskip("matplotlib")
    draw(Record(**{**{name: getattr(record, name) for name in record.__slots__}, "engines": ()}), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").exists()


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match=r"cannot draw 'a\.bmp': the name ends in \.svg, \.png, \.pdf"):
        check_plot(tmp_path / "a.bmp")
    with pytest.raises(NotFound, match="no folder"):
        check_plot(tmp_path / "none" / "a.svg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r'plots need matplotlib: pip install "vicinal\[bench\]"'):
        check_plot(tmp_path / "a.svg")
