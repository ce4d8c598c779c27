"""The command: tables, JSON, refusals, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
MAIN = [sys.executable, "-c", "from vicinal.cli import main; main()", "bench"]
QUICK = ["--generate", "300x6", "--intrinsic", "3", "--clusters", "3", "--queries", "20", "--seconds", "0.02"]


@pytest.fixture
def bench(run):
    """Run `vicinal bench` in this process, in an empty folder; return click's result."""
    return partial(run, "bench")


def test_tables_json_and_plot(bench, tmp_path):
    pytest.importorskip("matplotlib")
    options = ("--batches", "10", "--threads", "2", "--json", "figures.json", "--plot", "curve.svg")
    result = bench(*QUICK, "--engines", "numpy,faiss-flat", *options)
    assert result.stdout.startswith(
        "generated 300 x 6, 3 clusters, intrinsic 3, seed 0, cosine, k=10, 2 threads\n\nSearch\nengine\teffort\t"
    )
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[:4] for row in rows if row[0] == "numpy" and len(row) == 9] == [
        ["numpy", "exact", "held-out", "1.0000"],
        ["numpy", "exact", "out-of-distribution", "1.0000"],
    ]
    stored = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [engine["name"] for engine in stored["engines"]] == ["numpy", "faiss-flat"]
    assert (tmp_path / "curve.svg").read_bytes().startswith(b"<?xml")


def test_json_on_stdout_is_nothing_else(bench):
    result = bench(*QUICK, "--engines", "numpy", "--batches", "", "--json", "-", "--metric", "l2", "-k", "3")
    stored = json.loads(result.stdout)
    assert (stored["dataset"]["metric"], stored["plan"]["k"]) == ("l2", 3)


def test_a_failed_engine_is_a_line_of_the_table(bench):
    pytest.importorskip("sqlite_vec")
    result = bench(*QUICK, "--engines", "sqlite-vec", "--metric", "dot")
    assert "sqlite-vec\tfailed: Unsupported: sqlite-vec has no metric 'dot'" in result.stdout
    assert "Traceback" not in result.output


def test_list(bench):
    lines = [line.split("\t") for line in bench("--list").stdout.splitlines()]
    assert lines[0] == ["engine", "version", "what", "install"]
    engines = {line[0]: line for line in lines[1:]}
    assert {"vicinal", "numpy", "faiss-hnsw", "lancedb", "qdrant-edge"} <= set(engines)
    assert engines["numpy"][1]
    assert all(bool(line[1]) != bool(line[3]) for line in engines.values())
    assert [each["engine"] for each in json.loads(bench("--list", "--json", "-").stdout)] == list(engines)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--generate", "many"], 2, "a shape is ROWSxDIM"),
        (["none.npy"], 3, "no file 'none.npy'"),
        (["none.npy", "--generate", "10x2"], 2, "not both"),
        (["--column", "a"], 2, "--column goes with DATA"),
        (["--engines", "nmpy"], 2, "did you mean 'numpy'"),
        (["--batches", "1,x"], 2, "no list of whole numbers"),
        (["--effort", "vicinal"], 2, "such as vicinal=0.9,0.99"),
        (["--effort", "zvec=10", *QUICK], 2, "efforts for 'zvec', which is not measured"),
        (["--json", "none/a.json"], 3, "no folder 'none'"),
        (["--plot", "a.bmp"], 2, "the name ends in .svg"),
        (["-k", "0"], 2, "k is between"),
        (["--generate", "100x4", "--intrinsic", "9"], 2, "intrinsic dimension is between 1 and 4"),
    ],
)
def test_refusals(bench, tmp_path, arguments, code, reason):
    assert reason in bench(*arguments, code=code).stderr
    assert list(tmp_path.iterdir()) == []


def children_of(folder):
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in entry.read_bytes() and b"vicinal.bench.child" in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def started(tmp_path, environment):
    process = subprocess.Popen(
        [*MAIN, "--generate", "2000x32", "--seconds", "60", "--folder", str(tmp_path)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not list(tmp_path.glob("*/vicinal/all/*")):
        time.sleep(0.02)
    assert children_of(tmp_path)
    return process


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_ctrl_c_ends_children_and_removes_the_folder(tmp_path, environment):
    process = started(tmp_path, environment)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, "", "error: interrupted\n")
    assert children_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_children_end_when_their_parent_is_killed(tmp_path, environment):
    process = started(tmp_path, environment)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and children_of(tmp_path):
        time.sleep(0.05)
    assert children_of(tmp_path) == []
