"""Whatever is done to a file, in whatever order and by whom: every answer is the model's."""

from __future__ import annotations

import pytest

from . import actors
from .driver import World, lived

SLOW_SEEDS, SLOW_STEPS = 40, 5_000


def live(path: str, seed: int, n_steps: int, patch: pytest.MonkeyPatch) -> dict[str, int]:
    """Run one life of `n_steps`."""
    small = seed % 2 == 0
    if small:
        actors.small_world(patch.setattr)
    return lived(World(path, seed, small=small), seed, n_steps).counts


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_thousands_of_steps_agree_with_the_model(tmp_path, seed, monkeypatch) -> None:
    counts = live(str(tmp_path / "life.db"), seed, 1500, monkeypatch)
    # A life in which something never happens would prove nothing about it.
    expected = {"local", "outside", "foreign", "remote", "transaction", "nested", "pin", "release", "rollback to"}
    assert expected <= counts.keys()
    assert {"undo transaction", "keep transaction"} <= counts.keys()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 100 + SLOW_SEEDS))
def test_two_hundred_thousand_steps_agree_with_the_model(tmp_path, seed, monkeypatch) -> None:
    counts = live(str(tmp_path / "life.db"), seed, SLOW_STEPS, monkeypatch)
    assert {"compact", "sweep", "verify", "reopen", "undo nested", "keep nested"} <= counts.keys()
    assert min(counts[what] for what in ("transaction", "begin", "keep transaction", "undo transaction")) >= 1
