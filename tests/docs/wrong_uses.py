"""Try every wrong use of the page `docs/wrong-uses.md`, and write the page from what happened.

python tests/docs/wrong_uses.py > docs/wrong-uses.md
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import vicinal

SHOWN_FOLDER = "/data"
NOBODY = 65534
OPENING = """\
<!-- Made by `python tests/docs/wrong_uses.py > docs/wrong-uses.md`. Do not edit. -->

# Wrong uses

Each of these was run, in order, on one database, and gave the line below it: what was wrong, with which
value, and what to do. None of them changed anything: the database was compared and verified at the end.
What each class means, and which code and exit code it carries, stands in [Errors](reference/errors.md).

The database they are tried on:
"""
PREAMBLE = """\
import vicinal
from vicinal import F

db = vicinal.connect("app.db", timeout=0.1)
docs = db.collection("docs", dim=2)
docs.add(ids=["a", "b"], vectors=[[1, 0], [0, 1]], metadata=[{"year": 2024}, {"year": 2025}])
"""


@dataclass(frozen=True)
class Case:
    """A wrong use: what the page shows of it, and what is run before without being shown."""

    title: str
    code: str
    hidden: str = ""
    in_child: bool = False
    unprivileged: bool = False


GROUPS: dict[str, list[Case]] = {
    "Vectors": [
        Case("A wrong number of dimensions", 'docs.add(ids=["c"], vectors=[[1, 2, 3]])'),
        Case("Rows of different lengths", 'docs.add(ids=["c", "d"], vectors=[[1, 2], [3]])'),
        Case("NaN", 'docs.add(ids=["c", "d"], vectors=[[1, 2], [3, float("nan")]])'),
        Case("A zero vector where the metric is cosine", 'docs.add(ids=["c"], vectors=[[0, 0]])'),
        Case(
            "Integers that do not fit into int8",
            'small = db.collection("small", dim=2, dtype="i8")\nsmall.add(ids=["c"], vectors=[[1, 300]])',
        ),
        Case("Floats into an int8 field", 'small.add(ids=["c"], vectors=[[0.5, -0.5]])'),
        Case("No vectors, and no embedder to make them", 'docs.add(ids=["c"], documents=["wall paint"])'),
    ],
    "Ids": [
        Case("An id that exists", 'docs.add(ids=["c", "a"], vectors=[[1, 2], [3, 4]])'),
        Case("An id twice in one call", 'docs.add(ids=["c", "c"], vectors=[[1, 2], [3, 4]])'),
        Case("Ids of two types in one call", 'docs.add(ids=["c", 7], vectors=[[1, 2], [3, 4]])'),
        Case("Ids of another type than the collection's", "docs.add(ids=[7], vectors=[[1, 2]])"),
        Case("An update of an id that does not exist", 'docs.update(ids=["z"], metadata=[{"year": 2026}])'),
        Case("Reading an id that does not exist", 'docs["z"]'),
        Case("Columns of different lengths", 'docs.add(ids=["c", "d"], vectors=[[1, 2]])'),
    ],
    "Metadata": [
        Case(
            "A datetime without a time zone",
            "from datetime import datetime\n\n"
            'docs.add(ids=["c"], vectors=[[1, 2]], metadata=[{"seen": datetime(2026, 5, 1)}])',
        ),
        Case("Bytes", 'docs.add(ids=["c"], vectors=[[1, 2]], metadata=[{"thumb": {"png": b"\\x89PNG"}}])'),
        Case("NaN as a missing value", 'docs.update(ids=["a"], metadata=[{"price": float("nan")}])'),
        Case("A key that looks like an operator", 'docs.update(ids=["a"], metadata=[{"$year": 2026}])'),
        Case("A number of seconds as the moment of expiry", 'docs.update(ids=["a"], expires=3600)'),
    ],
    "Filters": [
        Case("A typo in an operator", 'docs.count({"year": {"$gte_": 2024}})'),
        Case("A typo in SQL text", 'docs.count("year => 2024")'),
        Case("Text without quotes", 'docs.count("kind = function")'),
        Case("A filter that ends too early", 'docs.count("year >= 2024 and")'),
        Case(
            "`and` instead of `&`",
            'docs.count(F("year") >= 2024 and F("year") < 2030)',
        ),
        Case("`&` without parentheses", 'docs.count(F("year") >= 2024 & F("year") < 2030)'),
        Case("Something that is no filter", "docs.count(2024)"),
    ],
    "Searches": [
        Case("A query of the wrong dimension", "docs.search([1, 0, 0])"),
        Case("k=0", "docs.search([1, 0], k=0)"),
        Case("A part of a row that does not exist", 'docs.search([1, 0], include=["embedding"])'),
        Case("Several queries at once", 'docs.search(["wall paint", "floor paint"])'),
        Case("A text, without an embedder", 'docs.search("wall paint")'),
        Case("No query", "docs.search()"),
        Case("A mode that this version does not have", 'docs.search([1, 0], mode="hybrid")'),
        Case(
            "No field named, where there are several",
            'films = db.collection("films", vectors={"title": {"dim": 2}, "poster": {"dim": 3}})\nfilms.search([1, 0])',
        ),
        Case("A field that does not exist", 'films.search([1, 0], using="cover")'),
    ],
    "Collections": [
        Case("A misspelt name", 'db.collection("dosc")'),
        Case("A metric that does not exist", 'db.collection("new", dim=2, metric="euclidean")'),
        Case("A metric that does not go with the type", 'db.collection("new", dim=2, metric="hamming")'),
        Case("Another dimension than the stored one", 'db.collection("docs", dim=384)'),
        Case("Another metric than the stored one", 'db.collection("docs", metric="l2")'),
        Case(
            "Another embedder than the stored one",
            "def bright(texts):\n    return [[len(text), 1] for text in texts]\n\n\n"
            "def dark(texts):\n    return [[1, len(text)] for text in texts]\n\n\n"
            'db.collection("shades", embedder=bright)\n'
            'db.collection("shades", embedder=dark)',
        ),
        Case("An embedder that does not exist", 'db.collection("new", embedder="wordlama")'),
        Case("A name that is taken", 'db.rename("docs", "films")'),
        Case(
            "An optional dependency that is not installed",
            'docs.get("a").to_pandas()',
            hidden='import sys\nsys.modules["pandas"] = None',
        ),
    ],
    "Files": [
        Case("A file that does not exist", 'vicinal.connect("ap.db", read_only=True)'),
        Case("A directory that does not exist", 'vicinal.connect("nowhere/app.db")'),
        Case("A directory", 'vicinal.connect("notes")', hidden='import os\nos.makedirs("notes", exist_ok=True)'),
        Case(
            "A file of something else",
            'vicinal.connect("notes.txt")',
            hidden='from pathlib import Path\nPath("notes.txt").write_text("Paint the wall.")',
        ),
        Case("An address", 'vicinal.connect("postgresql://localhost/app")'),
        Case(
            "A new file in a directory that cannot be written",
            'vicinal.connect("fixed/new.db")',
            in_child=True,
            unprivileged=True,
        ),
        Case(
            "A write to a database opened read-only",
            'reader = vicinal.connect("app.db", read_only=True)\nreader.collection("docs").delete(["a"])',
        ),
        Case("A backup over an existing file", 'db.backup("app.db")'),
    ],
    "Transactions and SQL": [
        Case(
            "A write while another connection writes",
            'other = vicinal.connect("app.db")\nwith other.transaction() as held:\n'
            '    other.collection("docs").delete(["a"])\n'
            '    docs.delete(["b"])',
        ),
        Case("SQL that writes into vicinal's own tables", 'db.execute("delete from vicinal_row")'),
        Case(
            "SQL that ends the transaction",
            'with db.transaction() as tx:\n    docs.delete(["a"])\n    tx.execute("commit")',
        ),
        Case("SQL that leaves a transaction open", 'db.execute("begin")'),
        Case("SQL that does not parse", 'db.execute("select from stock")'),
        Case(
            "The standard library's sqlite3 on the open file",
            'import sqlite3\n\nsqlite3.connect("app.db")',
        ),
        Case("Closing inside a transaction", "with db.transaction():\n    db.close()"),
        Case(
            "The database of the parent process, after a fork",
            "if os.fork() == 0:\n    docs.search([1, 0])",
            hidden="import os",
            in_child=True,
        ),
        Case("A write after closing", 'db.close()\ndocs.delete(["a"])'),
    ],
}


INTERRUPTION = """\
import os, signal
from vicinal import Collection
upsert, calls = Collection.upsert, []
def interrupted(*args, **kwargs):
    calls.append(1)
    if len(calls) == 3: os.kill(os.getpid(), signal.SIGINT)
    return upsert(*args, **kwargs)
Collection.upsert = interrupted
"""
COMMANDS = [
    ("A misspelt name", "vicinal search app.db [1,0] -c dosc", ""),
    ("A file that does not exist", "vicinal search ap.db [1,0] -c docs", ""),
    ("A filter that does not parse", "vicinal get app.db -c docs --where 'year => 2024'", ""),
    ("A file of something else", "vicinal info notes.txt", ""),
    ("A source that is broken in the middle", "vicinal import app.db broken.jsonl -c docs", ""),
    ("Deleting everything by accident", "vicinal delete app.db -c docs", ""),
    (
        "Ctrl-C in an import",
        "vicinal import app.db points.jsonl -c points",
        INTERRUPTION,
    ),
]


def outcome_of_command(command: str, before: str) -> str:
    """Run a command line in a process of its own, after the statements `before`."""
    program = f"{before}from vicinal.cli import main; main()"
    words = shlex.split(command)[1:]
    run = subprocess.run(
        [sys.executable, "-c", program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return f"{run.stdout}{run.stderr.strip()}\nexit code {run.returncode}"


def write_sources() -> None:
    """Write the files that the commands read."""
    lines = [f'{{"id": "p{row}", "vector": [1, {row}]}}\n' for row in range(5000)]
    Path("points.jsonl").write_text("".join(lines))
    Path("broken.jsonl").write_text('{"id": "c", "vector": [1, 2]}\n{"id": "d", "vector": [3, \n')


def outcome(case: Case, namespace: dict[str, object]) -> str:
    """Run one wrong use and return the error as the page shows it."""
    try:
        exec(case.hidden, namespace)  # noqa: S102 - our own, above
        exec(case.code, namespace)  # noqa: S102
    except vicinal.VicinalError as error:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - shown on the page, and refused by the test
        return f"NOT ONE OF OURS\n{traceback.format_exc()}"
    return "NO ERROR"


def outcome_in_child(case: Case, namespace: dict[str, object]) -> str:
    """Run one wrong use in a forked process; a fork of the shown code is this one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if case.unprivileged and os.geteuid() == 0:
            os.setuid(NOBODY)
        os.fork = lambda: 0
        with os.fdopen(writing, "w") as stream:
            stream.write(outcome(case, namespace))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return text


def page() -> str:
    """Try everything and return the page."""
    parts = [OPENING, f"```python\n{PREAMBLE}```\n"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path(folder).chmod(0o755)
        Path("fixed").mkdir(mode=0o555)
        namespace: dict[str, object] = {"__name__": "wrong"}
        exec(PREAMBLE, namespace)  # noqa: S102
        before = content(namespace["db"])
        real = str(Path(folder).resolve())
        for group, cases in GROUPS.items():
            parts.append(f"## {group}\n")
            for case in cases:
                text = (outcome_in_child if case.in_child else outcome)(case, namespace)
                shown = text.replace(real, SHOWN_FOLDER)
                parts.append(f"**{case.title}**\n\n```python\n{case.code}\n```\n\n```text\n{shown}\n```\n")
        parts.append("## The command line\n")
        write_sources()
        for title, command, hidden in COMMANDS:
            shown = outcome_of_command(command, hidden).replace(real, SHOWN_FOLDER)
            parts.append(f"**{title}**\n\n```console\n$ {command}\n{shown}\n```\n")
        with vicinal.connect("app.db") as db:
            if content(db) != before or not db.verify().ok:
                parts.append("THE DATABASE HAS CHANGED\n")
    return "\n".join(parts)


def content(db: vicinal.Database) -> list[dict[str, object]]:
    """Return all rows of `docs`, comparable."""
    rows = db.collection("docs").get(include=("metadata", "vector"))
    return [{**row, "vector": row["vector"].tolist()} for row in rows.to_dicts()]


if __name__ == "__main__":
    sys.stdout.write(page())
