"""Forks: a child neither uses, nor harms, nor is harmed by what its parent has open."""

from __future__ import annotations

import pytest

import vicinal

from .harness import run_python

BEGIN = """
import os, sys, threading, time, multiprocessing, vicinal, vicinal.errors
path = sys.argv[1]
db = vicinal.connect(path)
docs = db.collection("docs", dim=2)
docs.add(ids=["first"], vectors=[[1, 2]])

def add(docs, *ids):
    docs.add(ids=list(ids), vectors=[[1, 2]] * len(ids))

def refused(call):
    try:
        call()
    except vicinal.errors.UnsafeAccess as error:
        assert "fork" in str(error), error
    else:
        raise SystemExit("allowed")

def ended(pid):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status

def child_adds(name):
    pid = os.fork()
    if not pid:
        refused(docs.count)
        own = vicinal.connect(path)
        add(own.collection("docs"), name)
        own.close()
        os._exit(0)
    ended(pid)
"""

PROGRAMS = {
    "every use in the child is refused, however it ends": (
        """
for end in (sys.exit, os._exit):
    pid = os.fork()
    if not pid:
        for call in (docs.count, lambda: docs.search([1, 2]), lambda: add(docs, "x"), lambda: db.execute("select 1"),
                     db.collections, db.verify, db.compact, db.stats, lambda: db.transaction().__enter__(),
                     lambda: db.collection("new", dim=2), lambda: db.backup(path + ".copy"),
                     lambda: docs.delete(["first"])):
            refused(call)
        db.close()
        end(0)
    ended(pid)
    add(docs, end.__name__)
db.close()
""",
        {"first", "exit", "_exit"},
    ),
    "the parent's locks hold after the child has ended": (
        """
other = "import sys, vicinal, vicinal.errors\\n" \\
    "try: vicinal.connect(sys.argv[1], timeout=0.1).collection('docs').add(ids=['thief'], vectors=[[1, 2]])\\n" \\
    "except vicinal.errors.Locked: sys.exit(7)\\n"
import subprocess
with db.transaction():
    add(docs, "mine")
    pid = os.fork()
    if not pid:
        os._exit(0)
    ended(pid)
    done = subprocess.run([sys.executable, "-c", other, path])
    assert done.returncode == 7, done
db.close()
""",
        {"first", "mine"},
    ),
    "a child that leaves a transaction cannot commit it": (
        """
try:
    with db.transaction():
        add(docs, "before")
        pid = os.fork()
        if pid:
            ended(pid)
            add(docs, "after")
except vicinal.errors.UnsafeAccess:
    sys.exit(pid)
add(docs, "later")
db.close()
""",
        {"first", "before", "after", "later"},
    ),
    "a child that raises out of a transaction does not undo it": (
        """
try:
    with db.transaction():
        add(docs, "before")
        pid = os.fork()
        if not pid:
            raise KeyError
        ended(pid)
        add(docs, "after")
except KeyError:
    sys.exit(0)
db.close()
""",
        {"first", "before", "after"},
    ),
    "a child that opens the file anew loses nothing when its parent closes": (
        """
theirs, mine = os.pipe(), os.pipe()
pid = os.fork()
if not pid:
    own = vicinal.connect(path)
    add(own.collection("docs"), "child 1")
    os.write(theirs[1], b"x")
    os.read(mine[0], 1)
    add(own.collection("docs"), "child 2")
    os.kill(os.getpid(), 9)
os.read(theirs[0], 1)
add(docs, "parent")
db.close()
os.write(mine[1], b"x")
os.waitpid(pid, 0)
""",
        {"first", "child 1", "child 2", "parent"},
    ),
    "a child cannot open a file that was in mid-transaction": (
        """
with db.transaction():
    add(docs, "parent")
    pid = os.fork()
    if not pid:
        refused(lambda: vicinal.connect(path))
        vicinal.connect(path + ".other").close()
        os._exit(0)
    ended(pid)
db.close()
""",
        {"first", "parent"},
    ),
    "forks while other threads write": (
        """
stop = threading.Event()
def write(name):
    n = 0
    while not stop.is_set():
        add(docs, f"{name}-{n}")
        docs.search([1, 2], k=2)
        n += 1
    docs.delete([f"{name}-{at}" for at in range(n)])
threads = [threading.Thread(target=write, args=(at,), daemon=True) for at in range(2)]
for thread in threads: thread.start()
for at in range(15):
    child_adds(f"child {at}")
stop.set()
for thread in threads: thread.join()
db.close()
""",
        {"first", *(f"child {at}" for at in range(15))},
    ),
    "forks while other threads open the file": (
        """
stop = threading.Event()
def come_and_go():
    while not stop.is_set():
        with vicinal.connect(path) as again:
            assert "first" in again.collection("docs")
threads = [threading.Thread(target=come_and_go, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
for at in range(40):
    pid = os.fork()
    if not pid:
        own = vicinal.connect(path)
        add(own.collection("docs"), f"child {at}")
        own.close()
        os._exit(0)
    ended(pid)
stop.set()
for thread in threads: thread.join()
db.close()
""",
        {"first", *(f"child {at}" for at in range(40))},
    ),
    "forks while a thread moves the log into the file": (
        """
import numpy
wide = db.collection("wide", dim=512)
wide.index("flat")
vectors = numpy.ones((1000, 512), numpy.float32)
for at in range(20):
    wide.add(ids=[f"{at}-{row}" for row in range(1000)], vectors=vectors)  # 2 MB: the thread begins
    child_adds(f"child {at}")
    assert wide.count() == 1000 * (at + 1)
db.close()
""",
        {"first", *(f"child {at}" for at in range(20))},
    ),
    "multiprocessing with fork and with spawn": (
        """
def work(path, name):
    with vicinal.connect(path) as own:
        own.collection("docs").add(ids=[name], vectors=[[1, 2]])
for method in ("fork", "spawn"):
    context = multiprocessing.get_context(method)
    if method == "fork":
        children = [context.Process(target=work, args=(path, f"{method} {at}")) for at in range(3)]
    else:
        code = "import vicinal\\nwith vicinal.connect({!r}) as own:\\n"
        code += "    own.collection('docs').add(ids=[{!r}], vectors=[[1, 2]])"
        children = [context.Process(target=exec, args=(code.format(path, f"{method} {at}"),)) for at in range(3)]
    for child in children: child.start()
    for child in children: child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert docs.count() == (4 if method == "fork" else 7)
db.close()
""",
        {"first", *(f"{method} {at}" for method in ("fork", "spawn") for at in range(3))},
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_fork(tmp_path, name):
    program, expected = PROGRAMS[name]
    path = tmp_path / "app.db"
    done = run_python(BEGIN + program, path, flags=("-W", "ignore::DeprecationWarning"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    with vicinal.connect(path) as db:
        assert set(db.collection("docs").get().ids) == expected
        assert db.verify().ok
