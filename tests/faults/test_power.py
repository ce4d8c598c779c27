"""Power cuts and failing operations of the disk."""

from __future__ import annotations

import random
import shutil

import pytest

import vicinal
from vicinal.errors import StorageError

from . import model as known
from .harness import tiers
from .powerloss import World, database


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("filled") / "app.db"
    with vicinal.connect(path, maintenance=False) as db:
        known.create(db)
        model = known.Model()
        for _ in range(3):
            batch = model.next()
            known.store(db, batch)
            model.apply(batch)
    return path


def fresh(filled, tmp_path, name):
    path = tmp_path / name
    shutil.copy(filled, path)
    model = known.Model()
    model.advance_to(3)
    return path, model


def run_until_the_cut(path, model, world, monkeypatch, durability):
    """Store batches, compacting now and then, until the power fails; return how many were acknowledged."""
    acknowledged = model.number
    with database(path, world, monkeypatch, durability=durability) as db:
        db._backend._pool._writer.connection.wal_autocheckpoint(20)
        try:
            while True:
                known.store(db, model.next())
                acknowledged += 1
                model.advance_to(acknowledged)
                if acknowledged % 3 == 0:
                    db.compact()
        except StorageError as error:
            assert "power is off" in str(error)  # noqa: PT017
    world.cut()
    return acknowledged


@tiers(fast=10, full=60)
def test_a_power_cut_loses_nothing_that_was_acknowledged(filled, tmp_path, monkeypatch, rounds):
    n_stored = 0
    for seed in range(rounds):
        path, model = fresh(filled, tmp_path, f"{seed}.db")
        chance = random.Random(seed)
        world = World(chance, power=chance.randrange(10, 500))
        acknowledged = run_until_the_cut(path, model, world, monkeypatch, "full")
        known.audit(path, model, acknowledged)
        n_stored += acknowledged - 3
    assert n_stored > rounds


@tiers(fast=5, full=60)
def test_relaxed_durability_may_lose_the_last_batches_and_never_tears_one(filled, tmp_path, monkeypatch, rounds):
    for seed in range(rounds):
        path, model = fresh(filled, tmp_path, f"{seed}.db")
        chance = random.Random(seed)
        world = World(chance, power=chance.randrange(10, 500))
        run_until_the_cut(path, model, world, monkeypatch, "relaxed")
        with vicinal.connect(path, maintenance=False) as db:
            model = known.Model()
            model.advance_to(known.n_stored(db))
            assert model.number >= 3
            known.check(db, model)


@pytest.mark.parametrize("kind", ["write", "sync", "read"])
def test_the_nth_operation_fails_and_the_next_call_works(filled, tmp_path, monkeypatch, kind):
    n_failed = 0
    for number in range(1, 1000):
        path, model = fresh(filled, tmp_path, f"{number}.db")
        world = World(random.Random(0))
        with database(path, world, monkeypatch) as db:
            known.n_stored(db)
            if kind == "read":
                db._backend._pool._writer.connection.release_memory()
            batch = model.next()
            world.failing = (kind, number)
            try:
                known.store(db, batch)
            except StorageError as error:
                assert world.failed, error  # noqa: PT017
                n_failed += 1
                assert known.n_stored(db) == model.number
                known.check(db, model)
                known.store(db, batch)
            else:
                world.failing = None
            model.apply(batch)
            known.check(db, model)
        known.audit(path, model, model.number)
        if not world.failed:
            break
    assert n_failed >= {"write": 8, "sync": 1, "read": 8}[kind]
