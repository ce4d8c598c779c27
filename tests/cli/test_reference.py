"""The reference page says what the program says."""

from __future__ import annotations

from pathlib import Path

from vicinal.cli.program import program
from vicinal.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def test_reference_page_is_current():
    expected = reference()
    assert PAGE.read_text(encoding="utf-8") == expected, (
        "make it again: python -m vicinal.cli.reference > docs/reference/cli.md"
    )


def test_every_command_has_a_section():
    page = reference()
    assert [name for name in program.commands if f"\n## vicinal {name}\n" not in page] == []
