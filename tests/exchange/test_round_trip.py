"""An export comes back as the same collection: every value, every bit, every vector field."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vicinal
from vicinal.errors import AlreadyExists, InvalidInput, NotFound
from vicinal.exchange import (
    Wanted,
    export_jsonl,
    export_parquet,
    first_rows,
    load_rows,
    open_source,
    open_target,
)

WRITERS = {"jsonl": export_jsonl, "parquet": export_parquet}
ALL = ("document", "metadata", "vector")
FIELD = {"dim": 16, "dtype": "f32", "metric": "l2"}
both = pytest.mark.parametrize("kind", WRITERS)


def copied(collection, path, *, target, name="copy"):
    WRITERS[path.suffix[1:]](collection, path, overwrite=True)
    source = open_source(path)
    load_rows(open_target(target, name, source, first_rows(source), Wanted()), source, batch_rows=7)
    return target.collection(name)


def assert_same(left, right):
    first, second = left.info(), right.info()
    for key in ("rows", "fields", "embedder", "quantize", "id_type"):
        assert first[key] == second[key]
    a, b = (list(next(iter(each.iterate(include=ALL, batch_size=10_000)), [])) for each in (left, right))
    assert [(row.id, row.document, row.metadata) for row in a] == [(row.id, row.document, row.metadata) for row in b]
    for one, other in zip(a, b, strict=True):
        assert (one.vectors or {}).keys() == (other.vectors or {}).keys()
        for name, vector in (one.vectors or {}).items():
            assert vector.dtype == other.vectors[name].dtype
            assert vector.tobytes() == other.vectors[name].tobytes()


@pytest.fixture
def db():
    with vicinal.connect(":memory:") as opened:
        yield opened


@both
def test_the_chosen_index_comes_along(db, tmp_path, kind):
    docs = db.collection("docs", vectors={"a": {"dim": 16}, "b": {"dim": 8, "metric": "l2"}})
    docs.index("hnsw", using="a", M=12)
    docs.add(ids=[1], vectors={"a": np.ones((1, 16)), "b": np.ones((1, 8))})
    again = copied(docs, tmp_path / f"a.{kind}", target=db)
    assert_same(docs, again)
    assert [entry["index"] for entry in again.info()["fields"]] == [
        {"kind": "hnsw", "parameters": {"M": 12}},
        {"kind": "auto", "parameters": {}},
    ]


def test_an_index_that_does_not_suit_what_is_wanted_is_left_out(db, tmp_path):
    docs = db.collection("docs", dim=16)
    docs.index("hnsw")
    docs.add(ids=[1], vectors=np.ones((1, 16)))
    export_jsonl(docs, tmp_path / "a.jsonl")
    source = open_source(tmp_path / "a.jsonl")
    again = open_target(db, "again", source, first_rows(source), Wanted(metric="l1"))
    load_rows(again, source)
    (field,) = again.info()["fields"]
    assert (field["metric"], field["index"]["kind"], len(again)) == ("l1", "auto", 1)


@both
@pytest.mark.parametrize("dtype", ["f32", "f16", "i8", "bit"])
def test_vectors_come_back_bit_by_bit(db, tmp_path, kind, dtype):
    chance = np.random.default_rng(7)
    vectors = {
        "f32": lambda: (chance.standard_normal((50, 16)) * 10.0 ** chance.integers(-30, 30, (50, 16))).astype(
            np.float32
        ),
        "f16": lambda: chance.standard_normal((50, 16)).astype(np.float16),
        "i8": lambda: chance.integers(-128, 128, (50, 16)).astype(np.int8),
        "bit": lambda: chance.integers(0, 256, (50, 2)).astype(np.uint8),
    }[dtype]()
    if dtype == "f32":
        vectors[0, :4] = [-0.0, np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal, 1 / 3]
    original = db.collection("original", dim=16, dtype=dtype, metric="hamming" if dtype == "bit" else "l1")
    original.add(vectors=vectors)
    assert_same(original, copied(original, tmp_path / f"a.{kind}", target=db))


@both
def test_several_fields_and_rows_without_some(db, tmp_path, kind):
    original = db.collection("original", vectors={"title": {"dim": 2}, "body": {"dim": 8, "dtype": "bit"}})
    original.add(
        ids=["a", "b", "c"],
        vectors={"title": [[1, 2], None, [3, 4]], "body": [None, np.array([7], np.uint8), None]},
    )
    assert_same(original, copied(original, tmp_path / f"a.{kind}", target=db))


@both
def test_every_kind_of_value(db, tmp_path, kind):
    original = db.collection("original", dim=1, metric="l2")
    when = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
    metadata = {
        "none": None,
        "yes": True,
        "int": 2**63 - 1,
        "float": 0.1,
        "whole": 2.0,
        "text": 'a\u2028"\\\n\x01é🎨',
        "when": when,
        "list": [1, "a", None, [when]],
        "object": {"id": 1, "vector": [1], "expires": {"deep": when}},
        "id": "not the id",
        "document": "not the document",
        "vectors": {"a": [1]},
    }
    original.add(ids=[5, -(2**63)], vectors=[[0], [1]], documents=["", None], metadata=[metadata, {}])
    assert_same(original, copied(original, tmp_path / f"a.{kind}", target=db))


@both
def test_embedded_rows_are_not_embedded_again(db, tmp_path, kind):
    original = db.collection("original", embedder="wordllama", metric="dot")
    original.add(ids=["a", "b"], documents=["some words", "other words"])
    original.update(ids=["a"], vectors=np.ones((1, 256), np.float32))
    found = copied(original, tmp_path / f"a.{kind}", target=db)
    assert_same(original, found)
    assert found.search("other words", k=1).ids == original.search("other words", k=1).ids


@both
def test_empty_collection_keeps_its_specification(db, tmp_path, kind):
    original = db.collection("original", dim=3, dtype="f16", metric="l2")
    assert_same(original, copied(original, tmp_path / f"a.{kind}", target=db))


@both
def test_filter_and_no_vectors(db, tmp_path, kind):
    original = db.collection("original", embedder="wordllama")
    original.add(ids=["a", "b"], documents=["one", "two"], metadata=[{"n": 1}, {"n": 2}])
    path = tmp_path / f"a.{kind}"
    assert WRITERS[kind](original, path, where="n = 2", vectors=False) == 1
    source = open_source(path)
    found = open_target(db, "copy", source, first_rows(source), Wanted())
    load_rows(found, source)
    assert found.get().ids == ["b"]
    np.testing.assert_array_equal(found["b"].vector, original["b"].vector)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "id"]), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$"), min_size=1, max_size=5),
            values,
            max_size=3,
        ),
        min_size=1,
        max_size=10,
    ),
    kind=st.sampled_from(list(WRITERS)),
)
def test_any_metadata_comes_back(tmp_path, rows, kind):
    with vicinal.connect(":memory:") as db:
        original = db.collection("original", dim=1, metric="l2")
        original.add(vectors=np.zeros((len(rows), 1)), metadata=rows)
        assert_same(original, copied(original, tmp_path / f"a.{kind}", target=db))


@both
def test_target_is_replaced_whole_and_on_purpose_only(db, tmp_path, kind):
    original = db.collection("original", dim=1, metric="l2")
    original.add(vectors=[[1]])
    path = tmp_path / f"a.{kind}"
    path.write_text("precious")
    with pytest.raises(AlreadyExists, match="exists already"):
        WRITERS[kind](original, path)

    def fail(_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        WRITERS[kind](original, path, overwrite=True, progress=fail)
    assert path.read_text() == "precious"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    with pytest.raises(NotFound, match="no folder"):
        WRITERS[kind](original, tmp_path / "nowhere" / path.name)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"format": 2},
        {"format": 1, "collection": "a", "vectors": {"v": {"dim": "x", "dtype": "f32", "metric": "l2"}}},
        *(
            {"format": 1, "collection": "a", "has_vectors": True, "vectors": {"v": {**FIELD, "index": index}}}
            for index in (
                "hnsw",
                {"kind": "hnsw"},
            )
        ),
    ],
)
def test_foreign_header_is_refused(tmp_path, header):
    (tmp_path / "a.jsonl").write_text(json.dumps({"vicinal": header}))
    with pytest.raises(InvalidInput, match="not a vicinal header"):
        open_source(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("kind", "parameters", "said"),
    [
        (["hnsw"], {}, "index takes one of the kinds"),
        ("hsnw", {}, "got 'hsnw'"),
        ("hnsw", {"M": 1 << 40}, "M is a whole number from 2 to 256"),
        ("flat", {"M": 8}, "'flat' has no parameter 'M'"),
    ],
)
def test_an_index_that_cannot_be_is_named(tmp_path, kind, parameters, said):
    vectors = {"v": {**FIELD, "index": {"kind": kind, "parameters": parameters}}}
    header = {"format": 1, "collection": "a", "has_vectors": True, "vectors": vectors}
    (tmp_path / "a.jsonl").write_text(json.dumps({"vicinal": header}))
    with pytest.raises(InvalidInput, match=f"a.jsonl, line 1: .*{said}"):
        open_source(tmp_path / "a.jsonl")


def test_changed_export_is_refused_by_line(db, tmp_path):
    original = db.collection("original", dim=8, dtype="bit")
    original.add(ids=["a"], vectors=np.array([[1]], np.uint8))
    export_jsonl(original, tmp_path / "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text()
    for old, new in (('"01"', '"xy"'), ('"id"', '"key"')):
        (tmp_path / "a.jsonl").write_text(text.replace(old, new))
        with pytest.raises(InvalidInput, match=r"a\.jsonl, line 2"):
            first_rows(open_source(tmp_path / "a.jsonl"))


def test_times_are_kept_to_the_microsecond_at_both_ends(db, tmp_path):
    original = db.collection("original", dim=1, metric="l2")
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    original.add(vectors=[[1], [2]], metadata=[{"t": first}, {"t": last - timedelta(microseconds=1)}])
    assert_same(original, copied(original, tmp_path / "a.jsonl", target=db))
