"""Imports store whole batches, can be repeated, and say where something was wrong."""

from __future__ import annotations

import numpy as np
import pytest

import vicinal
from vicinal.errors import AlreadyExists, InvalidInput, InvalidVector, SpecMismatch
from vicinal.exchange import Loaded, Wanted, first_rows, load_rows, open_source, open_target


@pytest.fixture
def db():
    with vicinal.connect(":memory:") as opened:
        yield opened


def lines(path, n, start=0, **changes):
    rows = [f'{{"id": "{at}", "vector": [{at}, 1], "n": {at}}}' for at in range(start, start + n)]
    for at, text in changes.items():
        rows[int(at[1:])] = text
    path.write_text("\n".join(rows) + "\n")
    return path


def imported(db, path, name="rows", wanted=None, **options):
    source = open_source(path)
    collection = open_target(db, name, source, first_rows(source), wanted or Wanted(metric="l2"))
    return load_rows(collection, source, **options)


def test_progress_is_told_after_each_batch(db, tmp_path):
    seen = []
    found = imported(db, lines(tmp_path / "a.jsonl", 25), batch_rows=10, progress=seen.append)
    assert [state.rows for state in seen] == [10, 20, 25]
    assert [state.batches for state in seen] == [1, 2, 3]
    assert [state.done for state in seen] == sorted(state.done for state in seen)
    assert found == seen[-1]
    assert found.done == 1.0


def test_repeating_an_import_changes_nothing(db, tmp_path):
    path = lines(tmp_path / "a.jsonl", 25)
    imported(db, path, batch_rows=10)
    assert imported(db, path, batch_rows=7).rows == 25
    assert len(db.collection("rows")) == 25


def test_existing_ids_can_be_refused(db, tmp_path):
    imported(db, lines(tmp_path / "a.jsonl", 5))
    with pytest.raises(AlreadyExists, match=r"a\.jsonl, lines 1 to 5"):
        imported(db, tmp_path / "a.jsonl", mode="refuse")


def test_later_row_of_an_id_counts(db, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "vector": [1], "n": 1}\n{"id": 2, "vector": [1]}\n{"id": 1, "vector": [1], "n": 2}\n')
    assert imported(db, path) == Loaded(rows=3, batches=1, repeated=1, done=1.0)
    assert db.collection("rows").get([1]).metadata == [{"n": 2}]


def test_batches_before_a_mistake_are_stored(db, tmp_path):
    path = lines(tmp_path / "a.jsonl", 25, _17='{"id": "17", "vector": [1, 2], "n": ')
    with pytest.raises(InvalidInput, match=r"a\.jsonl, line 18: not JSON.*; the 10 rows before this batch are stored"):
        imported(db, path, batch_rows=10)
    assert len(db.collection("rows")) == 10


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "17", "vector": [1, 2, 3]}', r"a\.jsonl, line 18: "),
        ('{"id": "", "vector": [1, 2]}', r"a\.jsonl, line 18: "),
        ('{"id": "17", "vector": [1, 2], "$x": 1}', r"a\.jsonl, line 18: "),
    ],
)
def test_value_that_cannot_be_stored_is_named_by_line(db, tmp_path, row, message):
    with pytest.raises(InvalidInput, match=message):
        imported(db, lines(tmp_path / "a.jsonl", 25, _17=row), batch_rows=10)


def test_skipping_rows(db, tmp_path):
    imported(db, lines(tmp_path / "a.jsonl", 25), batch_rows=10, skip=13)
    assert db.collection("rows").get(limit=1, order_by="n").ids == ["13"]
    assert len(db.collection("rows")) == 12


def test_bare_vectors_get_ids(db, tmp_path):
    np.save(tmp_path / "a.npy", np.eye(4, dtype=np.float32))
    assert imported(db, tmp_path / "a.npy").generated_ids
    assert len(db.collection("rows")) == 4


def test_numbers_become_text_where_ids_are_text(db, tmp_path):
    db.collection("rows", dim=2, metric="l2").add(ids=["a"], vectors=[[1, 2]])
    (tmp_path / "a.csv").write_text('id,vector\n1,"[3, 4]"\n')
    imported(db, tmp_path / "a.csv")
    assert db.collection("rows").get(["1"]).ids == ["1"]


def test_new_collection_needs_vectors_or_an_embedder(db, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "hello"}\n')
    with pytest.raises(InvalidInput, match="choose an embedder"):
        imported(db, tmp_path / "a.jsonl", wanted=Wanted())
    (tmp_path / "b.jsonl").write_text('{"id": 1, "note": "hello"}\n')
    with pytest.raises(InvalidInput, match="neither texts nor vectors"):
        imported(db, tmp_path / "b.jsonl", wanted=Wanted())
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(InvalidInput, match="holds no rows"):
        imported(db, tmp_path / "c.jsonl", wanted=Wanted())
    assert db.collections() == []


def test_what_is_wanted_must_not_contradict_what_exists(db, tmp_path):
    imported(db, lines(tmp_path / "a.jsonl", 5))
    with pytest.raises(SpecMismatch):
        imported(db, tmp_path / "a.jsonl", wanted=Wanted(metric="cosine"))


def test_packed_bits_from_an_array(db, tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 4]], np.uint8))
    imported(db, tmp_path / "a.npy", wanted=Wanted(dtype="bit"))
    assert db.collection("rows").info()["fields"][0]["dim"] == 16


def test_named_vectors(db, tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"id": 1, "vectors": {"a": [1, 2], "b": [3]}}\n{"id": 2, "vectors": {"a": [1, 2]}}\n'
    )
    imported(db, tmp_path / "a.jsonl")
    found = db.collection("rows").get(include=("vector",))
    assert sorted(found[0].vectors) == ["a", "b"]


def test_blank_texts_count_as_missing(db, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "hello"}\n{"id": 2, "text": "  "}\n')
    imported(db, tmp_path / "a.jsonl", wanted=Wanted(embedder="wordllama"))
    assert db.collection("rows").get().documents == ["hello", None]


def test_unit_floats_are_quantised_on_request(db, tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0.5, -1.0]], np.float32))
    with pytest.raises(InvalidVector):
        imported(db, tmp_path / "a.npy", name="plain", wanted=Wanted(dtype="i8"))
    imported(db, tmp_path / "a.npy", wanted=Wanted(dtype="i8", quantize="unit"))
    assert db.collection("rows").get(include=("vector",))[0].vector.tolist() == [64, -127]
