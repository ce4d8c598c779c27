"""The README's Python examples run as they stand, in order, in an empty directory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks():
    return PYTHON_BLOCK.findall(README.read_text(encoding="utf-8"))


@pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")
def test_readme_shows_python():
    assert python_blocks()


@pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")
def test_examples_in_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for number, block in enumerate(python_blocks(), 1):
        code = compile(block, f"README.md, example {number}", "exec")
        exec(code, namespace)  # noqa: S102 - our own file
