"""Codes and codebooks that changed outside: answers stay right, nothing crashes, and codes are made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Worker, tiers

SCRIPT = Path(__file__).with_name("codes_worker.py")
KINDS = (
    *("deleted", "truncated", "bit_of_codes", "bit_of_a_codebook", "other_types", "crafted_codes"),
    *("crafted_codebook", "crafted_bytes", "crafted_field", "crafted_spec", "swapped"),
)
NOTICED = {"deleted", "truncated", "bit_of_codes", "crafted_codebook", "swapped"}
"""Kinds of which most cases make codes unusable, which explain must say."""
START = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("coded") / "app.db"
    assert Worker("", SCRIPT, "build", path, code=START).finish() == ["built"]
    return path


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
@tiers(fast=1, full=25)
def test_answers_stay_right_and_codes_come_back(whole, kind, rounds):
    """The cases run in a process of their own, which must end by itself: native code reads these bytes."""
    lines = Worker("", SCRIPT, "damage", whole, kind, 0, rounds, code=START).finish()
    notes = [int(line.split()[1]) for line in lines if line.startswith("notes")]
    assert len(notes) == rounds
    if kind in NOTICED and rounds > 1:
        assert sum(map(bool, notes)) > rounds / 3


def test_codes_are_true_after_a_repair(tmp_path):
    assert Worker("", SCRIPT, "repair", tmp_path / "app.db", code=START).finish() == ["repaired"]
