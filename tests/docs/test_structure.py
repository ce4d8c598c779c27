"""The shape of the source: sizes, and what may not be imported."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "vicinal"
MODULES = sorted(SOURCE.rglob("*.py"))

MAX_LINES = 400
MAX_MEDIAN_LINES = 200
MAX_FUNCTION_LINES = 80
# pickle and its kin run code from data; a second SQLite library in the process breaks file locks.
BANNED = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "sqlite3", "_sqlite3"}
# File names that say nothing about what is inside.
VAGUE = {"utils", "util", "helpers", "common", "misc", "manager", "core", "base"}


def parametrize_modules(function):
    names = [str(path.relative_to(SOURCE)) for path in MODULES]
    return pytest.mark.parametrize("path", MODULES, ids=names)(function)


def count_lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def test_modules_are_found():
    assert len(MODULES) > 10


def test_half_of_the_modules_are_short():
    assert statistics.median(map(count_lines, MODULES)) < MAX_MEDIAN_LINES


@parametrize_modules
def test_no_module_is_long(path):
    assert count_lines(path) <= MAX_LINES


@parametrize_modules
def test_no_function_is_long(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or f.lineno) - f.lineno >= MAX_FUNCTION_LINES]
    assert long == []


@parametrize_modules
def test_banned_modules_are_not_imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {name for name in imported_modules(tree) if name.partition(".")[0] in BANNED}
    assert found == set()


@parametrize_modules
def test_module_says_why_it_exists(path):
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))


@parametrize_modules
def test_file_name_says_what_is_inside(path):
    assert path.stem not in VAGUE


def test_package_is_marked_as_typed():
    assert (SOURCE / "py.typed").exists()


def test_every_room_is_a_package():
    # Without it import-linter does not see the room, and its borders go unchecked.
    rooms = {path.parent for path in MODULES}
    assert [str(room) for room in sorted(rooms) if not (room / "__init__.py").exists()] == []
