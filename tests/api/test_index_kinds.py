"""Kinds of index chosen by hand: they reach the recall asked for, see every change at once, and stay chosen."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest

import vicinal
from vicinal import F
from vicinal.engine import lease
from vicinal.engine.structures import builder
from vicinal.errors import Closed, InvalidInput, Locked, Unsupported
from vicinal.indexing import IndexChoice

N, DIM = 6000, 24
KINDS = {
    "flat": {},
    "scan": {"bits": 2},
    "hnsw": {"M": 12, "ef_construction": 80},
    "ivf": {"nlist": 64},
    "scann": {"nlist": 64, "bits": 2},
}
STRUCTURED = ("hnsw", "ivf", "scann")
METRICS = ("cosine", "l2", "dot")


def vectors_of(n, seed):
    """Clustered vectors (n, DIM): 60 clusters that overlap."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((60, DIM))
    return (centres[rng.integers(0, 60, n)] + 0.7 * rng.standard_normal((n, DIM))).astype(np.float32)


def distances_to(rows, query, metric="cosine"):
    x, q = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.linalg.norm(x - q, axis=1)
    products = x @ q
    return -products if metric == "dot" else 1 - products / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))


def recall_of(hits, rows, query, k, metric="cosine"):
    limit = np.sort(distances_to(rows, query, metric))[:k][-1]
    return np.count_nonzero(hits.distances <= limit + 1e-6 * abs(limit) + 1e-7) / k


def filled(path, n=N, metric="cosine", **given):
    db = vicinal.connect(path, maintenance=False, durability="relaxed", **given)
    docs = db.collection("docs", dim=DIM, metric=metric)
    ids = list(range(n))
    docs.add(ids=ids, vectors=vectors_of(n, 1), metadata=[{"n": at % 1000} for at in ids])
    return db, docs


@pytest.fixture(scope="module", params=KINDS)
def built(request, tmp_path_factory):
    """Kind, collection and what index() returned."""
    db, docs = filled(tmp_path_factory.mktemp("kinds") / "app.db")
    with db:
        yield request.param, docs, docs.index(request.param, **KINDS[request.param])


def test_returns_what_was_built(built):
    kind, _, found = built
    assert found["kind"] == kind
    assert set(found) == {"kind", "parameters", "rows", "seconds", "bytes"}
    assert found["parameters"].items() >= KINDS[kind].items()
    assert (found["rows"] > 0.97 * N) == (kind != "flat")
    assert (found["bytes"] > N) == (kind != "flat")


@pytest.mark.parametrize("asked", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_finds_the_recall_asked_for(built, asked, k):
    _, docs, _ = built
    rows, queries = vectors_of(N, 1), vectors_of(60, 2)
    found = [recall_of(docs.search(query, k=k, recall=asked, include=()), rows, query, k) for query in queries]
    assert np.mean(found) >= asked - 0.02
    batch = docs.search_batch(queries, k=k, recall=asked, include=())
    found = [recall_of(hits, rows, query, k) for hits, query in zip(batch, queries, strict=True)]
    assert np.mean(found) >= asked - 0.02


def test_explain_shows_kind_and_effort(built):
    kind, docs, _ = built
    plan = docs.explain(vectors_of(1, 3)[0]).plan
    words = {"flat": "exact scan", "scan": "code scan, 2 bit", "hnsw": "ef ", "ivf": "nprobe ", "scann": "nprobe "}
    assert words[kind] in plan
    assert kind in plan or kind in ("flat", "scan")


def test_every_effort_is_everything(built):
    kind, docs, _ = built
    everything = {"hnsw": {"ef": 10 * N, "depth": N}, "scan": {"depth": 10 * N}}.get(kind, {"nprobe": 64, "depth": N})
    for query in vectors_of(5, 4):
        exact = docs.search(query, k=20, exact=True, include=())
        hits = docs.search(query, k=20, effort=None if kind == "flat" else everything, include=())
        assert hits.ids == exact.ids
        assert np.array_equal(hits.distances, exact.distances)


def test_more_effort_finds_more(built):
    kind, docs, _ = built
    if kind == "flat":
        return
    knob = {"hnsw": "ef", "scan": "depth"}.get(kind, "nprobe")
    rows, queries = vectors_of(N, 1), vectors_of(40, 5)
    shares = []
    for value in (1, 8, 64, 1024):
        batch = docs.search_batch(queries, k=10, effort={knob: value}, include=())
        shares.append(np.mean([recall_of(hits, rows, q, 10) for hits, q in zip(batch, queries, strict=True)]))
    assert all(more >= fewer - 0.01 for fewer, more in pairwise(shares))
    assert shares[-1] > 0.98


@pytest.mark.parametrize("below", [900, 300, 30, 1])
def test_filters_never_starve(built, below):
    _, docs, _ = built
    rows, mask = vectors_of(N, 1), np.arange(N) % 1000 < below
    found = []
    for query in vectors_of(15, 6):
        hits = docs.search(query, k=50, where=F("n") < below)
        assert len(hits) == min(50, mask.sum())
        assert all(hit.metadata["n"] < below for hit in hits)
        found.append(recall_of(hits, rows[mask], query, min(50, mask.sum())))
    assert np.mean(found) >= 0.93


def test_similar_and_exact(built):
    _, docs, _ = built
    hits = docs.similar(17, k=5, exact=True)
    assert 17 not in hits.ids
    assert set(docs.similar(17, k=5, recall=0.99).ids) & set(hits.ids)
    assert docs.explain(vectors_of(1, 3)[0], exact=True).recall == 1.0


def test_recall_is_measured(built):
    kind, docs, _ = built
    found = docs.measure_recall(n=40, recall=0.95)
    assert found.recall >= 0.93
    assert found.unreachable == (0 if kind == "hnsw" else None)


@pytest.mark.parametrize("kind", STRUCTURED)
@pytest.mark.parametrize("metric", METRICS)
def test_changes_are_seen_at_once(kind, metric, tmp_path):
    db, docs = filled(tmp_path / "app.db", 2000, metric)
    with db:
        docs.index(kind)
        chance = np.random.default_rng(7)
        rows = dict(enumerate(vectors_of(2000, 1)))
        for turn in range(4):
            fresh = vectors_of(60, 100 + turn)
            ids = list(range(10_000 * turn + 5000, 10_000 * turn + 5060))
            docs.add(ids=ids, vectors=fresh)
            rows |= dict(zip(ids, fresh, strict=True))
            moved = chance.choice(sorted(rows), 40, replace=False).tolist()
            other = vectors_of(40, 200 + turn)
            docs.update(ids=moved, vectors=other)
            rows |= dict(zip(moved, other, strict=True))
            gone = chance.choice(sorted(rows), 50, replace=False).tolist()
            docs.delete(gone)
            rows = {at: row for at, row in rows.items() if at not in set(gone)}
            assert kind in docs.explain(fresh[0]).plan
            for at in {*ids[:20], *moved[:20]} - set(gone):
                nearest = docs.search(rows[at], k=len(rows), recall=0.9, include=())
                assert sorted(nearest.ids) == sorted(rows)
                if metric != "dot":
                    assert nearest.ids[0] == at or nearest.distances[0] == nearest.distances[nearest.ids.index(at)]
            every = np.array(list(rows.values()))
            found = [recall_of(docs.search(q, recall=0.95), every, q, 10, metric) for q in vectors_of(20, 300 + turn)]
            assert np.mean(found) >= 0.93


@pytest.mark.parametrize("kind", STRUCTURED)
def test_reopening_does_not_build_again(kind, tmp_path, monkeypatch):
    db, docs = filled(tmp_path / "app.db", 2000)
    with db:
        docs.index(kind)
        query = vectors_of(1, 3)[0]
        before = docs.search(query, include=())
    monkeypatch.setattr(builder.Building, "run", None)
    with vicinal.connect(tmp_path / "app.db", maintenance=False) as db:
        docs = db.collection("docs")
        assert kind in docs.explain(query).plan
        after = docs.search(query, include=())
        assert after.ids == before.ids
        db.compact()
        assert kind in docs.explain(query).plan
    with vicinal.connect(tmp_path / "app.db", read_only=True) as db:
        assert kind in db.collection("docs").explain(query).plan


def test_another_connection_sees_what_was_published(tmp_path):
    db, docs = filled(tmp_path / "app.db", 2000)
    query = vectors_of(1, 3)[0]
    with db, vicinal.connect(tmp_path / "app.db", maintenance=False) as other:
        seen = other.collection("docs")
        assert "exact" in seen.explain(query).plan
        docs.index("hnsw")
        assert "hnsw" in seen.explain(query).plan
        docs.index("flat")
        assert "exact scan" in seen.explain(query).plan
        assert db.execute("select count(*) from vicinal_structure") == [(0,)]
        db.compact()
        assert db.execute("select count(*) from vicinal_piece") == [(0,)]


def test_maintenance_builds_anew_what_changed_much(tmp_path):
    db, docs = filled(tmp_path / "app.db", 2000)
    with db:
        docs.index("hnsw", M=8, ef_construction=40)
        (first,) = db.execute("select structure from vicinal_field")[0]
        docs.add(ids=list(range(5000, 5300)), vectors=vectors_of(300, 9))
        db.compact()
        assert db.execute("select structure from vicinal_field") == [(first,)]  # 15 % is not much
        docs.add(ids=list(range(6000, 6300)), vectors=vectors_of(300, 10))
        db.compact()
        (second,) = db.execute("select structure from vicinal_field")[0]
        assert second > first
        docs.delete(list(range(800)))
        db.compact()
        assert db.execute("select structure from vicinal_field")[0][0] > second
        assert "hnsw (M 8, ef_construction 40)" in docs.explain(vectors_of(1, 3)[0]).plan
        assert db.verify().ok


def test_maintenance_builds_in_the_background(tmp_path):
    with vicinal.connect(tmp_path / "app.db", durability="relaxed") as db:
        docs = db.collection("docs", dim=DIM)
        docs.index("hnsw", M=8, ef_construction=40)  # nothing to build yet
        assert "exact" in docs.explain(np.ones(DIM)).plan
        docs.add(ids=list(range(2000)), vectors=vectors_of(2000, 1))
        deadline = time.monotonic() + 20
        while "hnsw" not in docs.explain(np.ones(DIM)).plan and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "hnsw" in docs.explain(np.ones(DIM)).plan


def test_writers_hardly_wait_for_a_build(tmp_path):
    db, docs = filled(tmp_path / "app.db", 12_000)
    with db, vicinal.connect(tmp_path / "app.db", maintenance=False, timeout=2, durability="relaxed") as other:
        longest, ended = [], threading.Event()

        def write(collection, first):
            at = first
            while not ended.is_set():
                started = time.perf_counter()
                collection.add(ids=[at], vectors=vectors_of(1, at))
                longest.append(time.perf_counter() - started)
                at += 1
                time.sleep(0.005)

        threads = [
            threading.Thread(target=write, args=(docs, 100_000)),
            threading.Thread(target=write, args=(other.collection("docs"), 200_000)),
        ]
        for thread in threads:
            thread.start()
        docs.index("hnsw", M=8, ef_construction=40)
        ended.set()
        for thread in threads:
            thread.join()
        assert len(longest) > 20
        assert np.quantile(longest, 0.98) < 0.1


def test_one_build_at_a_time(tmp_path):
    db, docs = filled(tmp_path / "app.db", 2000, timeout=0.1)
    with db:
        other = lease.Lease(db._backend._pool, "index")
        with other.held(0.0) as mine:
            assert mine
            with pytest.raises(Locked, match="another index"):
                docs.index("hnsw")
            db.compact()  # does not wait, and does not build
            assert docs.explain(np.ones(DIM)).notes == ("hnsw is chosen and not built yet",)
        assert docs.index("hnsw")["rows"] >= 1900


def test_a_lease_of_the_dead_runs_out(tmp_path, monkeypatch):
    db, docs = filled(tmp_path / "app.db", 2000, timeout=3.0)
    with db:
        monkeypatch.setattr(lease, "SECONDS", 0.3)
        dead = lease.Lease(db._backend._pool, "index")
        assert dead._taken(0.0)
        assert docs.index("ivf")["rows"] >= 1900
        with pytest.raises(Locked, match="ran out"):
            dead.check()


def test_a_choice_that_changed_meanwhile_is_not_published(tmp_path, monkeypatch):
    db, docs = filled(tmp_path / "app.db", 2000)
    with db:
        usual = builder.Building._stage

        def stage(self, base, packed):
            with db._backend._pool.writer() as session, session.writing():
                record = db._backend._record(session, "docs")
                choice = IndexChoice("flat")
                db._backend._builder.choose(session, record, record.fields[0], choice)
            return usual(self, base, packed)

        monkeypatch.setattr(builder.Building, "_stage", stage)
        docs.index("hnsw", M=8, ef_construction=40)
        assert docs.explain(np.ones(DIM)).plan.startswith("exact scan")
        assert db.execute("select count(*) from vicinal_structure") == [(0,)]


def test_progress_and_exceptions_of_it(tmp_path):
    db, docs = filled(tmp_path / "app.db", 3000)
    seen = []
    with db:
        docs.index("hnsw", M=8, ef_construction=40, progress=lambda done, total: seen.append((done, total)))
        assert seen == sorted(seen)
        assert seen[-1] == (3000, 3000)

        def stop(_done, _total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            docs.index("hnsw", M=9, progress=stop)
        assert docs.explain(np.ones(DIM)).notes == ("hnsw is chosen and not built yet",)
        assert docs.index("hnsw", M=9, ef_construction=40)["parameters"] == {"M": 9, "ef_construction": 40}


def test_several_fields_have_kinds_of_their_own(tmp_path):
    with vicinal.connect(tmp_path / "app.db", maintenance=False) as db:
        fields = {"a": {"dim": DIM}, "b": {"dim": DIM, "metric": "l2"}}
        docs = db.collection("docs", vectors=fields)
        docs.add(ids=list(range(1500)), vectors={"a": vectors_of(1500, 1), "b": vectors_of(1500, 2)})
        with pytest.raises(InvalidInput, match="several vector fields"):
            docs.index("hnsw")
        docs.index("hnsw", using="a")
        docs.index("ivf", using="b")
        assert "hnsw" in docs.explain(vectors_of(1, 3)[0], using="a").plan
        assert "ivf" in docs.explain(vectors_of(1, 3)[0], using="b").plan


def test_auto_gives_back_what_there_was(tmp_path):
    db, docs = filled(tmp_path / "app.db", 2000)
    with db:
        docs.index("hnsw")
        assert docs.index()["kind"] == "auto"
        assert docs.explain(np.ones(DIM)).plan.startswith("exact scan")


def test_in_memory():
    db, docs = filled(":memory:", 2000)
    with db:
        assert docs.index("hnsw")["rows"] >= 1900
        assert "hnsw" in docs.explain(np.ones(DIM)).plan


REFUSED = {
    "an unknown kind": (("diskann", {}), "'auto', 'flat', 'scan', 'hnsw', 'ivf', 'scann'; got 'diskann'"),
    "no kind": ((None, {}), "got None"),
    "an unknown parameter": (("hnsw", {"m": 16}), "has no parameter 'm'; its parameters: 'M', 'ef_construction'"),
    "a parameter of another kind": (("ivf", {"bits": 1}), "its parameters: 'nlist'"),
    "none there": (("flat", {"bits": 1}), "its parameters: none"),
    "too large": (("hnsw", {"M": 1000}), "M is a whole number from 2 to 256, not 1000"),
    "no number": (("scan", {"bits": "2"}), "bits is a whole number from 1 to 2, not '2'"),
    "a truth": (("ivf", {"nlist": True}), "nlist is a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_choices_are_refused_by_name(docs, case):
    (kind, parameters), message = REFUSED[case]
    with pytest.raises(InvalidInput) as error:
        docs.index(kind, **parameters)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "field", "message"),
    [
        (
            "hnsw",
            {"dim": 64, "dtype": "bit"},
            "'hnsw' is for f32, f16 and i8 by cosine, l2 or dot, not for bit by hamming",
        ),
        ("ivf", {"dim": 8, "metric": "l1"}, "'ivf' is for f32, f16 and i8 by cosine, l2 or dot, not for f32 by l1"),
        ("scann", {"dim": 8}, "'scann' codes vectors of at least 16 dimensions, not f32 by cosine of 8"),
    ],
)
def test_kinds_that_do_not_suit_are_refused(db, kind, field, message):
    with pytest.raises(Unsupported) as error:
        db.collection("docs", **field).index(kind)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "effort", "message"),
    [
        ("hnsw", {"nprobe": 3}, "'hnsw' has no effort 'nprobe'; it has 'ef', 'depth'"),
        ("ivf", {"ef": 3}, "it has 'nprobe', 'depth'"),
        ("flat", {"depth": 3}, "it has none: every search of it is exact"),
        ("auto", {"ef": 3}, "it has 'depth'"),
        ("hnsw", {"speed": 3}, "effort takes 'depth', 'ef', 'nprobe'; got 'speed'"),
        ("hnsw", {"ef": 0}, "ef is a whole number from 1"),
        ("hnsw", {}, "effort is a dict"),
        ("hnsw", 128, "effort is a dict"),
    ],
)
def test_bad_efforts_are_refused_by_name(docs, kind, effort, message):
    docs.index(kind)
    docs.add(ids=[1], vectors=[[1, 1]])
    for ask in (docs.search, docs.explain, lambda query, **given: docs.search_batch([query], **given)):
        with pytest.raises(InvalidInput) as error:
            ask([1, 2], effort=effort)
        assert message in str(error.value)


def test_exact_and_effort_contradict(docs):
    with pytest.raises(InvalidInput, match="exact=True"):
        docs.search([1, 2], exact=True, effort={"depth": 3})


def test_not_inside_a_transaction(db, docs):
    with db.transaction(), pytest.raises(InvalidInput, match="after the transaction"):
        docs.index("hnsw")


def test_closing_ends_a_build(tmp_path):
    db, docs = filled(tmp_path / "app.db", 6000)
    failed = []

    def build():
        try:
            docs.index("hnsw", M=64, ef_construction=4000)
        except Closed as error:
            failed.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    deadline = time.monotonic() + 10
    while not db.execute("select 1 from vicinal_meta where key = 'lease index'") and time.monotonic() < deadline:
        time.sleep(0.01)
    started = time.monotonic()
    db.close()
    thread.join()
    assert failed
    assert time.monotonic() - started < 5


def test_real_queries_count_where_they_miss_more(tmp_path):
    db, docs = filled(tmp_path / "app.db", 3000, "l2")
    with db:
        docs.index("ivf", nlist=32)
        far = 3 * np.random.default_rng(3).standard_normal((120, DIM)).astype(np.float32)
        for query in far:
            docs.search(query, include=())
        before = docs.explain(far[0], recall=0.95)
        docs.index("ivf", nlist=32)
        after = docs.explain(far[0], recall=0.95)
        assert int(re.search(r"nprobe (\d+)", after.plan)[1]) > int(re.search(r"nprobe (\d+)", before.plan)[1])
        rows = vectors_of(3000, 1)
        found = [recall_of(docs.search(query, recall=0.95, include=()), rows, query, 10, "l2") for query in far]
        assert np.mean(found) >= 0.93


@pytest.mark.parametrize("kind", STRUCTURED)
def test_transactions_see_their_own_changes_alone(kind, tmp_path):
    db, docs = filled(tmp_path / "app.db", 2000)
    with db:
        docs.index(kind)
        query = vectors_of(1, 3)[0]
        before = docs.search(query, k=2000, include=()).ids
        with suppress(ZeroDivisionError), db.transaction():
            docs.delete(before[:30])
            docs.add(ids=[9000, 9001], vectors=[query, 2 * query])
            assert docs.search(query, k=2, include=()).ids == [9000, 9001]
            assert sorted(docs.search(query, k=2100, include=()).ids) == sorted([*before[30:], 9000, 9001])
            assert kind in docs.explain(query).plan
            raise ZeroDivisionError
        assert docs.search(query, k=2000, include=()).ids == before


def test_a_small_memory_budget_changes_no_answers(tmp_path):
    db, docs = filled(tmp_path / "app.db", 6000)
    with db:
        docs.index("hnsw", M=8, ef_construction=40)
    with vicinal.connect(tmp_path / "app.db", memory_budget="1MB", maintenance=False) as db:
        docs = db.collection("docs")
        rows, queries = vectors_of(6000, 1), vectors_of(20, 3)
        for _ in range(3):
            found = [recall_of(docs.search(query, include=()), rows, query, 10) for query in queries]
            assert np.mean(found) >= 0.93
        assert "hnsw" in docs.explain(queries[0]).plan


def test_no_queries(built):
    _, docs, _ = built
    assert docs.search_batch(np.empty((0, DIM), np.float32), k=3, include=()) == []
