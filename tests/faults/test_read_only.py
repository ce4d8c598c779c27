"""Files and directories that cannot be written: opened read-only, answered from, and said so."""

from __future__ import annotations

import pytest

import vicinal
from vicinal.errors import ReadOnly, StorageError

from . import model as known
from .harness import WITHOUT_RIGHTS, Worker, disk, public_directory, remount, run_python

READ = """
import sys, vicinal, vicinal.errors
with vicinal.connect(sys.argv[1]) as db:
    docs = db.collection("docs")
    ids = [row.id for row in docs.get(include=("metadata", "vector"))]
    first = docs.get([ids[0]], include=("vector",))[0]
    assert docs.search(first.vector, k=1).ids == [ids[0]]
    assert docs.count(where="batch >= 0") == len(ids)
    assert db.verify().ok
    try:
        docs.delete([ids[0]])
    except vicinal.errors.ReadOnly as error:
        assert "read-only" in str(error), error
    else:
        raise SystemExit("a write went through")
    print(len(ids), db.execute("select count(*) from batches")[0][0])
"""


@pytest.fixture
def filled():
    """Return a database that was closed, and how many rows it has; everybody may read it."""
    with public_directory() as home:
        with vicinal.connect(home / "app.db", maintenance=False) as db:
            known.create(db)
            model = known.Model()
            known.store(db, model.next())
        model.advance_to(1)
        yield home / "app.db", len(model.rows)


def test_asked_for(filled):
    path, n_rows = filled
    before = path.read_bytes()
    with vicinal.connect(path, read_only=True) as db:
        assert len(db.collection("docs")) == n_rows
        for write in (
            lambda: db.collection("docs").add(vectors=[known.vector("x", 0)]),
            lambda: db.collection("new", dim=2),
            lambda: db.drop("docs"),
            lambda: db.rename("docs", "other"),
            lambda: db.verify(repair=True),
            lambda: db.execute("delete from batches"),
            db.compact,
        ):
            with pytest.raises(ReadOnly):
                write()
        with pytest.raises(ReadOnly), db.transaction():
            pass
        assert len(db.collection("docs")) == n_rows
    assert path.read_bytes() == before


def test_a_disk_mounted_read_only(filled, tmp_path):
    path, n_rows = filled
    with disk(tmp_path / "disk", "8m") as place:
        copy = place / "app.db"
        copy.write_bytes(path.read_bytes())
        remount(place, "ro")
        with vicinal.connect(copy) as db:
            assert len(db.collection("docs")) == n_rows
            assert db.collection("docs").search(known.vector("0-0", 0), k=1).ids == ["0-0"]
            assert db.verify().ok
            with pytest.raises(ReadOnly, match="read-only"):
                db.collection("docs").delete(["0-0"])
        with pytest.raises(StorageError, match="read-only"):
            vicinal.connect(place / "new.db")


def test_a_file_that_may_not_be_written(filled):
    path, n_rows = filled
    path.chmod(0o444)
    path.parent.chmod(0o777)
    done = run_python(WITHOUT_RIGHTS + READ, path)
    assert done.stdout.split() == [str(n_rows), "1"], done.stderr


def test_a_directory_that_may_not_be_written(filled):
    path, n_rows = filled
    path.chmod(0o666)
    path.parent.chmod(0o555)
    done = run_python(WITHOUT_RIGHTS + READ, path)
    assert done.stdout.split() == [str(n_rows), "1"], done.stderr
    assert [entry.name for entry in path.parent.iterdir()] == ["app.db"]


def crash(path):
    """Leave a log behind; return how many batches are acknowledged."""
    worker = Worker("ingest", path, "never")
    while len(worker.lines) < 8:
        worker.line()
    return max(int(line) for line in worker.end() if line.strip().isdigit())


def test_a_directory_that_may_not_be_written_with_a_log_left_over(filled):
    path, _ = filled
    acknowledged = crash(path)
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    done = run_python(WITHOUT_RIGHTS + READ, path)
    assert done.returncode == 0, done.stderr
    n_rows, n_batches = map(int, done.stdout.split())
    assert acknowledged <= n_batches <= acknowledged + 1
    model = known.Model()
    model.advance_to(n_batches)
    assert n_rows == len(model.rows)


def test_a_log_without_its_shared_memory_in_such_a_directory_is_not_passed_over(filled):
    """The last batches are in the log alone: served, or refused; never an older state."""
    path, _ = filled
    acknowledged = crash(path)
    path.with_name("app.db-shm").unlink()
    path.parent.chmod(0o555)
    done = run_python(WITHOUT_RIGHTS + READ, path)
    if done.returncode:
        assert "StorageError" in done.stderr
    else:
        assert int(done.stdout.split()[1]) >= acknowledged


def test_a_reader_without_rights_sees_what_was_written_and_closed_meanwhile(filled):
    path, n_rows = filled
    path.parent.chmod(0o555)
    waits = "    len(db.collection('docs')); print('ready', flush=True); input()\n    docs = db"
    reader = Worker("", path, code=WITHOUT_RIGHTS + READ.replace("    docs = db", waits))
    reader.line()
    for at in range(3):
        with vicinal.connect(path, maintenance=False) as db:
            ids = [f"new-{at}-{number}" for number in range(200)]
            vectors = known.vectors(ids, 0)
            db.collection("docs").add(ids=ids, vectors=vectors, metadata=[{"batch": 1}] * 200)
    reader.say("go on")
    assert reader.finish()[1].split() == [str(n_rows + 600), "1"]


def test_a_reader_without_rights_sees_what_the_owner_writes(filled):
    """The owner has the file open, its log still empty; the reader may write nothing."""
    path, n_rows = filled
    path.parent.chmod(0o555)
    with vicinal.connect(path, maintenance=False) as db:
        docs = db.collection("docs")
        docs.count()
        code = READ.replace(
            "    docs = db", "    len(db.collection('docs')); print('ready', flush=True); input()\n    docs = db"
        )
        reader = Worker("", path, code=WITHOUT_RIGHTS + code)
        reader.line()
        ids = [f"new-{at}" for at in range(500)]
        docs.add(ids=ids, vectors=known.vectors(ids, 0), metadata=[{"batch": 1}] * 500)
        db.compact()
        reader.say("go on")
        assert reader.finish()[1].split() == [str(n_rows + 500), "1"]
