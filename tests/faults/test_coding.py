"""Codes in the making: killed, interrupted, and beside writers of other threads and processes."""

from __future__ import annotations

import random

import pytest

from .harness import Worker, tiers
from .test_damaged_codes import SCRIPT, START


def child(verb: str, *arguments: object) -> Worker:
    return Worker("", SCRIPT, verb, *arguments, code=START)


@pytest.mark.timeout(900)
@tiers(fast=3, full=40)
def test_a_kill_while_codes_are_made_loses_nothing_and_leaves_nothing_stale(tmp_path, rounds):
    path, chance = tmp_path / "app.db", random.Random(rounds)
    stored = 0
    for _ in range(rounds):
        lines = child("grow", path).killed_after(chance, 0.0, 0.25)
        said = [int(line) for line in lines if line.strip().isdigit()]
        acknowledged = max([stored, *said])
        (line,) = child("audit", path).finish()
        stored = int(line)
        assert stored >= acknowledged
    (line,) = child("complete", path).finish()
    assert int(line) == stored


@tiers(fast=40, full=600)
def test_interrupted_coding_leaves_the_write_whole_and_the_locks_free(tmp_path, rounds):
    interrupted, in_coding = map(int, child("interrupted", tmp_path / "app.db", rounds).finish()[-1].split())
    assert interrupted > rounds / 10
    assert in_coding > rounds / 40


@pytest.mark.timeout(600)
@pytest.mark.parametrize("maintained", ["", "maintained"])
@tiers(fast=3, full=40)
def test_threads_and_a_second_process_write_while_codes_are_made(tmp_path, rounds, maintained):
    path = tmp_path / "app.db"
    child("prepare", path).finish()
    other = child("storm", path, "2", rounds, maintained)
    mine = child("storm", path, "1", rounds, maintained)
    written = [int(worker.finish()[-1]) for worker in (mine, other)]
    assert min(written) > 10
    assert int(child("complete", path).finish()[-1]) == sum(written)
