"""Rows that come a few at a time: no write waits for what takes a second, and maintenance makes their codes."""

from __future__ import annotations

import time

import numpy as np
import pytest

import vicinal
from vicinal.engine import maintainer
from vicinal.engine.codes import coder

DIM = 32
FEW = 50


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(coder, "MIN_ROWS", 1000)


def add(docs, start, n=FEW):
    rows = np.random.default_rng(start).standard_normal((n, DIM), np.float32)
    docs.add(ids=list(range(start, start + n)), vectors=rows)
    return rows


def has_codes(docs, rows):
    told = docs.explain(rows[0], k=1)
    return "code scan" in told.plan or "code scan" in told.rejected


def test_few_rows_at_a_time_train_nothing(tmp_path):
    with vicinal.connect(tmp_path / "a.db", maintenance=False) as db:
        docs = db.collection("docs", dim=DIM)
        for start in range(0, 2000, FEW):
            rows = add(docs, start)
        assert not has_codes(docs, rows)
        db.compact()
        assert has_codes(docs, rows)
        rows = add(docs, 2000)
        assert docs.search(rows[7], k=1).ids == [2007]


def test_many_rows_at_once_do(tmp_path):
    with vicinal.connect(tmp_path / "a.db", maintenance=False) as db:
        docs = db.collection("docs", dim=DIM)
        assert has_codes(docs, add(docs, 0, 2000))


def test_writes_that_never_cease_get_codes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(maintainer, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(maintainer, "_IDLE_SECONDS", 3600.0)
    with vicinal.connect(tmp_path / "a.db") as db:
        docs, start, until = db.collection("docs", dim=DIM), 0, time.monotonic() + 60
        rows = add(docs, start)
        while not has_codes(docs, rows):
            assert time.monotonic() < until
            start += FEW
            rows = add(docs, start)
            time.sleep(0.01)
        assert docs.search(rows[3], k=1).ids == [start + 3]
        assert db.verify().ok
