"""Change fragments have a known kind, and say something."""

from __future__ import annotations

from pathlib import Path

import pytest

CHANGES = Path(__file__).parents[2] / "changes"
FRAGMENTS = sorted(path for path in CHANGES.glob("*") if path.name != "README.md")
KINDS = {"added", "changed", "fixed", "data-safety"}


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_fragment_is_well_formed(path):
    _, kind, suffix = path.name.split(".")
    assert kind in KINDS
    assert suffix == "md"
    assert path.read_text(encoding="utf-8").strip()
