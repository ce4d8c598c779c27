"""Databases and ways to run `vicinal` on them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import vicinal
from vicinal.cli.program import program

SOURCE = Path(__file__).parents[2] / "src"
MAIN = [sys.executable, "-c", "from vicinal.cli import main; main()"]


@pytest.fixture
def environment():
    """Variables under which another process finds this source tree, wherever it runs."""
    inherited = {key: value for key, value in os.environ.items() if key != "VICINAL_DEBUG"}
    return {**inherited, "PYTHONPATH": str(SOURCE), "PYTHONUTF8": "1"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the program in this process, in an empty folder; return click's result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VICINAL_DEBUG", raising=False)

    def call(*arguments, code=0, **options):
        result = CliRunner().invoke(program, [str(argument) for argument in arguments], prog_name="vicinal", **options)
        assert result.exit_code == code, result.output
        if code:
            assert result.stderr.startswith("error: ")
            assert result.stderr.count("\n") == 1
        return result

    return call


@pytest.fixture
def spawn(tmp_path, environment):
    """Run the program in a process of its own, in an empty folder; return what it did."""

    def call(*arguments, **options):
        return subprocess.run(
            [*MAIN, *map(str, arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
            encoding="utf-8", timeout=60, **options,
        )  # fmt: skip

    return call


@pytest.fixture
def app(tmp_path):
    """A database of one collection with an embedder."""
    path = tmp_path / "app.db"
    with vicinal.connect(path) as db:
        docs = db.collection("docs", embedder="wordllama")
        docs.add(
            ids=["paint", "bread", "gzip"],
            documents=["a wall paint that dries fast", "how to bake bread at home", "compress files with gzip"],
            metadata=[{"year": 2024, "tags": ["diy"]}, {"year": 2020}, {"year": 2025}],
        )
    return path


@pytest.fixture
def points(tmp_path):
    """A database of two collections without embedders; the ids of the first are numbers."""
    path = tmp_path / "points.db"
    with vicinal.connect(path) as db:
        db.collection("points", dim=2, metric="l2").add(ids=[1, 2, 3], vectors=[[0, 0], [3, 4], [6, 8]])
        db.collection("other", dim=2, metric="l2").add(ids=["a"], vectors=[[0, 0]])
    return path
