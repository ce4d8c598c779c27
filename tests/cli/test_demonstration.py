"""The demo answers sensibly, can be repeated, and leaves other files alone."""

from __future__ import annotations

import os
import re
import shlex

import pytest

import vicinal
from vicinal.demo import corpus, index
from vicinal.demo.corpus import Item
from vicinal.errors import Conflict

NAMES = {
    "threading.Thread.join": ("Wait until the thread terminates.", "method"),
    "subprocess.getoutput": ("Return output of executing cmd in a shell.", "function"),
    "subprocess.run": ("Run command and return a CompletedProcess instance.", "function"),
    "str.split": ("Return a list of the substrings, using sep as the separator.", "method"),
    "re.split": ("Split the source string by the occurrences of the pattern.", "function"),
    "zipfile": ("Read and write ZIP files.", "module"),
    "list.sort": ("Sort the list in ascending order.", "method"),
    "json.JSONDecoder": ("Simple JSON decoder.", "class"),
}


@pytest.fixture
def small(monkeypatch):
    """A corpus of a few items, so that most tests need not collect the whole library."""
    items = [
        Item(
            id=name,
            document=corpus.document_text(name, "", doc),
            metadata={"kind": kind, "package": name.partition(".")[0], "name": name},
        )
        for name, (doc, kind) in NAMES.items()
    ]
    monkeypatch.setattr(index, "standard_library_items", lambda: iter(items))


def test_demo_on_the_real_library(spawn, tmp_path):
    done = spawn("demo")
    assert done.returncode == 0, done.stderr
    blocks = done.stdout.split("\n\n")
    first_answers = [block.splitlines()[1].split()[1] for block in blocks[1:-1]]
    assert first_answers == [
        "threading.Thread.join",
        first_answers[1],
        "str.split",
        "re.split",
        "zipfile",
    ]
    assert first_answers[1].startswith("subprocess.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vicinal-demo.db"]


def test_second_run_uses_the_file_again(run, small):
    assert "indexed in" in run("demo").stdout
    assert "indexed before" in run("demo").stdout
    assert "indexed in" in run("demo", "--rebuild").stdout


def test_what_to_try_next_works(run, small):
    output = run("demo", "--path", "a b.db").stdout
    commands = re.findall(r"^  vicinal (.+)$", output.partition("Try next:")[2], re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        assert run(*shlex.split(command)).stdout


def test_interrupted_run_is_begun_again(run, small, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with vicinal.connect("vicinal-demo.db") as db, pytest.raises(KeyboardInterrupt):
        index.make_index(db, interrupt)
    with vicinal.connect("vicinal-demo.db") as db:
        assert index.find_index(db) is None
    assert "indexed in" in run("demo").stdout


def test_file_of_somebody_else_is_left_alone(run, small, app):
    assert "choose another file with --path" in run("demo", "--path", app, code=Conflict.exit_code).stderr


def test_demo_in_a_folder_that_cannot_be_written(run, small, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    run("demo", code=6)
