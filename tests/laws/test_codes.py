"""Searches over codes answer as the model does, whatever was done before, and codes are those of their vectors."""

from __future__ import annotations

import pytest

from . import actors
from .actors import coding
from .driver import World, lived

SLOW_SEEDS, SLOW_STEPS = 24, 4_000


def live(path: str, seed: int, n_steps: int, patch: pytest.MonkeyPatch) -> dict[str, int]:
    """Run one life of `n_steps` where 32 rows are coded."""
    small = seed % 2 == 0
    if small:
        actors.small_world(patch.setattr)
    actors.coded_world(patch.setattr)
    world = World(path, seed, small=small, coded=True)

    def true_codes() -> None:
        assert coding.untrue(world.local.db) == []

    return {**lived(world, seed, n_steps, true_codes).counts, **coding.searched}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_life_with_codes_agrees_with_the_model(tmp_path, seed, monkeypatch) -> None:
    counts = live(str(tmp_path / "life.db"), seed, 1200, monkeypatch)
    assert counts["code scan"] > 60  # else this tests nothing


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(200, 200 + SLOW_SEEDS))
def test_long_lives_with_codes_agree_with_the_model(tmp_path, seed, monkeypatch) -> None:
    counts = live(str(tmp_path / "life.db"), seed, SLOW_STEPS, monkeypatch)
    assert counts["code scan"] > 200
    assert {"compact", "sweep", "reopen", "undo transaction", "rollback to", "pin"} <= counts.keys()
