"""kill -9 at any moment: what was acknowledged is there, whole; what was not is absent, whole."""

from __future__ import annotations

import random

import pytest

import vicinal

from . import model as known
from .harness import Worker, tiers


@pytest.mark.timeout(600)
@pytest.mark.parametrize("compacting", ["never", "loop", "thread"])
@tiers(fast=3, full=40)
def test_no_acknowledged_batch_is_lost_and_none_is_torn(tmp_path, rounds, compacting):
    path, model, chance = tmp_path / "app.db", known.Model(), random.Random(rounds)
    acknowledged = 0
    for _ in range(rounds):
        lines = Worker("ingest", path, compacting).killed_after(chance, 0.02, 0.3)
        acknowledged = max([model.number, *(int(line) for line in lines if line.strip().isdigit())])
        known.audit(path, model, acknowledged)
    assert model.number > rounds  # batches were stored between the kills, on a slow machine too


@pytest.fixture
def filled(tmp_path):
    path, model = tmp_path / "app.db", known.Model(n_rows=100)
    with vicinal.connect(path, maintenance=False) as db:
        known.create(db)
        for _ in range(20):
            batch = model.next()
            known.store(db, batch)
            model.apply(batch)
    return path, model


@tiers(fast=3, full=20)
def test_a_backup_appears_whole_or_not_at_all(filled, tmp_path, rounds):
    path, model = filled
    chance = random.Random(rounds)
    (tmp_path / "copies").mkdir()
    n_whole = 0
    for number in range(rounds):
        prefix = tmp_path / "copies" / f"{number}-"
        lines = Worker("backup", path, prefix).killed_after(chance, 0.0, 0.1)
        done = [copy for copy in prefix.parent.iterdir() if copy.name.startswith(prefix.name) and "." not in copy.name]
        assert len(done) >= len([line for line in lines if line.strip().isdigit()])
        for copy in done:
            with vicinal.connect(copy, maintenance=False) as db:
                known.check(db, model)
        n_whole += len(done)
        left = [copy.name for copy in prefix.parent.iterdir() if copy.name.endswith(".partial")]
        with vicinal.connect(path, maintenance=False) as db:
            for name in left:  # what a killed backup leaves does not stand in the way of the next
                db.backup(prefix.parent / name.removesuffix(".partial"))
    assert n_whole
    assert not [copy.name for copy in prefix.parent.iterdir() if ".partial" in copy.name]
    known.audit(path, model, model.number)


@tiers(fast=3, full=20)
def test_a_repair_that_is_killed_can_be_repeated(filled, rounds):
    path, model = filled
    chance = random.Random(rounds)
    for _ in range(rounds):
        Worker("repair", path).killed_after(chance, 0.0, 0.2)
        with vicinal.connect(path, maintenance=False) as db:
            assert db.verify(repair=True).ok
        known.audit(path, model, model.number)
