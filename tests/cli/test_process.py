"""The program as a process: exit codes, pipes, signals, terminals."""

from __future__ import annotations

import functools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

import vicinal
from vicinal.cli import program as program_module

SLOW = """
import time
from vicinal.collection import Collection
upsert = Collection.upsert
def slow(*arguments, **keywords):
    time.sleep(0.02)
    return upsert(*arguments, **keywords)
Collection.upsert = slow
from vicinal.cli import main
main()
"""


def rows(path, n):
    path.write_text("".join(json.dumps({"id": f"r{at}", "vector": [at, 1.0]}) + "\n" for at in range(n)))


def test_success_and_failure_are_exit_codes(spawn, app):
    assert spawn("get", app, "--count").stdout == "3\n"
    failed = spawn("get", app, "nothing")
    assert (failed.returncode, failed.stderr) == (3, "error: no row with id 'nothing'\n")
    assert spawn("frob").returncode == 2


def test_ctrl_c_keeps_whole_batches(tmp_path, environment):
    rows(tmp_path / "data.jsonl", 20_000)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "import", "app.db", "data.jsonl", "-c", "rows", "--metric", "l2", "--batch", "50"],
        cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and n_rows(tmp_path / "app.db") < 100:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output == ""
    found = re.fullmatch(
        r"error: interrupted; ([\d,]+) rows in ([\d,]+) batches are stored; continue with the same command\n", errors
    )
    assert found, errors
    told = int(found[1].replace(",", ""))
    stored = n_rows(tmp_path / "app.db")
    # The signal may fall between a commit and the count of it.
    assert stored in (told, told + 50)
    assert 100 <= stored < 20_000
    with vicinal.connect(tmp_path / "app.db") as db:
        assert db.verify().ok
        assert set(db.collection("rows").get().ids) == {f"r{at}" for at in range(stored)}


def n_rows(path):
    if not path.exists():
        return 0
    with vicinal.connect(path, maintenance=False) as db:
        return len(db.collection("rows")) if "rows" in db.collections() else 0


def test_reader_that_has_enough_ends_the_program_quietly(tmp_path, spawn, environment):
    rows(tmp_path / "data.jsonl", 5_000)
    assert spawn("import", "app.db", "data.jsonl", "--metric", "l2").returncode == 0
    command = [sys.executable, "-c", "from vicinal.cli import main; main()", "export", "app.db", "-"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_output_that_the_terminal_cannot_show_is_escaped(app, environment):
    command = [sys.executable, "-c", "from vicinal.cli import main; main()", "get", str(app)]
    with vicinal.connect(app) as db:
        db.collection("docs").add(ids=["é"], documents=["naïve 🎨"])
    western = {**environment, "PYTHONIOENCODING": "iso-8859-1", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=western, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"na\xefve \\U0001f3a8" in done.stdout


def test_debug_shows_the_traceback(spawn, app):
    assert "Traceback" not in spawn("get", app, "-c", "nope").stderr
    assert "Traceback" in spawn("--debug", "get", app, "-c", "nope").stderr


def test_ctrl_c_anywhere_else_is_one_line(run, app, monkeypatch):
    def interrupt(*_arguments, **_keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(vicinal, "connect", interrupt)
    assert run("info", app, code=130).stderr == "error: interrupted\n"


def test_defect_is_one_line_too(run, app, monkeypatch):
    def broken(*_arguments, **_keywords):
        raise ZeroDivisionError("oops\nmore")

    monkeypatch.setattr(vicinal, "connect", broken)
    assert "unexpected ZeroDivisionError: oops more" in run("info", app, code=program_module.UNEXPECTED).stderr


def test_another_writer_is_waited_for_and_named(run, app, monkeypatch):
    monkeypatch.setattr(vicinal, "connect", functools.partial(vicinal.connect, timeout=0.1))
    with vicinal.connect(app) as db, db.transaction():
        db.collection("docs").delete(["bread"])
        run("delete", app, "gzip", "--yes", code=5)


def on_terminal(arguments, folder, columns, environment):
    """Run the program on a terminal of so many columns; return what it shows."""
    controller, terminal = pty.openpty()
    environment = {**environment, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-c", "from vicinal.cli import main; main()", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while data := os.read(controller, 65536):
                shown += data
        except OSError:  # how Linux says that the other side has gone
            pass
        finally:
            os.close(controller)
        assert process.wait(timeout=60) == 0
    return shown.decode()


@pytest.mark.parametrize("columns", [60, 120])
def test_tables_fit_the_terminal(tmp_path, app, columns, environment):
    shown = on_terminal(["search", app, "wall"], tmp_path, columns, environment)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "paint" in plain
    assert max(map(len, plain.splitlines())) <= columns


def test_progress_is_shown_on_a_terminal(tmp_path, environment):
    rows(tmp_path / "data.jsonl", 3_000)
    shown = on_terminal(
        ["import", "app.db", "data.jsonl", "--metric", "l2", "--batch", "100"], tmp_path, 100, environment
    )
    assert "importing data.jsonl" in shown
    assert "stored 3,000 rows" in shown


def test_help_loads_neither_rich_nor_arrow(environment):
    code = (
        "import sys\nfrom vicinal.cli.program import program\n"
        "print([n for n in ('rich', 'pyarrow', 'pandas', 'wordllama', 'faiss') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"
