"""Several vectors per row, what a collection was created as, and handles that outlive it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vicinal.errors import AlreadyExists, InvalidInput, InvalidVector, NotFound, SpecMismatch

if TYPE_CHECKING:
    import vicinal


@pytest.fixture
def pair(db) -> vicinal.Collection:
    fields = {"title": {"dim": 2, "metric": "l2"}, "image": {"dim": 16, "dtype": "bit"}}
    docs = db.collection("pair", vectors=fields)
    bits = np.array([[0, 0], [255, 0]], np.uint8)
    docs.add(ids=["a", "b", "c"], vectors={"title": [[0, 0], None, [3, 4]], "image": [bits[0], bits[1], None]})
    return docs


def test_a_row_is_found_by_the_vectors_it_has(pair) -> None:
    hits = pair.search([0, 0], using="title")
    assert (hits.ids, hits.distances.tolist()) == (["a", "c"], [0, 5])
    hits = pair.search(np.array([255, 255], np.uint8), using="image")
    assert (hits.ids, hits.distances.tolist()) == (["b", "a"], [8, 16])
    assert sorted(pair["a"].vectors) == ["image", "title"]
    assert pair["a"].vector is None  # which of the two?
    assert pair["b"].vector.tolist() == [255, 0]


def test_update_gives_a_row_a_vector_and_upsert_takes_away_what_it_does_not_give(pair) -> None:
    pair.update(ids=["b", "c"], vectors={"title": [[1, 0], None]})
    assert pair.search([0, 0], using="title").ids == ["a", "b", "c"]
    pair.upsert(ids=["a"], vectors={"image": [np.array([1, 1], np.uint8)]})
    assert pair.search([0, 0], using="title").ids == ["b", "c"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda docs: docs.search([0, 0]), "several vector fields; say which with using=: 'title', 'image'"),
        (lambda docs: docs.search([0, 0], using="titel"), "no vector field 'titel'; there are: 'title', 'image'"),
        (lambda docs: docs.search([0, 0, 0], using="title"), "expected 2, got 3"),
        (lambda docs: docs.add(vectors=[[0, 0]]), r"vector fields 'title', 'image'; give vectors=\{name: array\}"),
        (lambda docs: docs.add(vectors={"title": [[0, 0]], "image": []}), "different lengths"),
    ],
)
def test_which_field_must_be_said(pair, call, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        call(pair)
    assert len(pair) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"dim": 3}, "created with dim=2; dim=3 contradicts"),
        ({"metric": "dot"}, "created with metric='l2'; metric='dot'"),
        ({"dtype": "f16"}, "created with dtype='f32'; dtype='f16'"),
        ({"quantize": "unit"}, "quantize=None; 'unit'"),
        ({"vectors": {"other": {"dim": 2}}}, "no vector field 'other'; there are: 'vector'"),
        ({"embedder": lambda texts: np.ones((len(texts), 2))}, "holds vectors of no embedder; 'callable:"),
    ],
)
def test_a_contradicting_specification_is_refused_with_both_values(db, three, given, says) -> None:
    with pytest.raises(SpecMismatch, match=says):
        db.collection("docs", **given)
    assert db.collection("docs", dim=2, metric="l2", dtype="f32").get().ids == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"dim": 0}, "dim must be 1 to 65,536, got 0"),
        ({"dim": 2.5}, "whole number"),
        ({"metric": "euclid"}, "'euclid' is not one of cosine"),
        ({"dtype": "f64"}, "'f64' is not one of f32"),
        ({"dtype": "bit", "dim": 12}, "multiple of 8"),
        ({"dtype": "bit", "metric": "cosine"}, "'cosine' does not go with vector type 'bit'"),
        ({"metric": "hamming"}, "'hamming' does not go with vector type 'f32'"),
        ({"vectors": {}}, "vectors is a dict"),
        ({"vectors": {"a": {"dims": 2}}}, "dict of dim, dtype, metric"),
        ({"vectors": {"a": {}}, "dim": 2}, "give dim within vectors="),
        ({"quantize": "half", "dim": 2}, "quantize is 'unit' or None"),
    ],
)
def test_an_impossible_specification_creates_nothing(db, given, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        db.collection("new", **given)
    assert db.collections() == []


@pytest.mark.parametrize("name", ["", "x" * 256, "a\x00b", "\ud800", 5, None, b"x"])
def test_an_impossible_name_is_refused(db, name) -> None:
    with pytest.raises(InvalidInput, match="a collection's name"):
        db.collection(name, dim=2)
    assert db.collections() == []


@pytest.mark.parametrize("name", ["x" * 255, "é" * 255, "'; drop table x--", '"', "../x", " ", "%", "vicinal_row"])
def test_any_other_name_is_a_name(db, name) -> None:
    db.collection(name, dim=1, metric="l2").add(ids=["a"], vectors=[[1]])
    assert db.collections() == [name]
    assert db.collection(name).search([1]).ids == ["a"]


def test_a_dimension_left_open_is_what_the_first_vector_says_for_everybody(db) -> None:
    one, two = db.collection("open", metric="l2"), db.collection("open")
    assert one.search([1, 2, 3]).ids == []
    with pytest.raises(InvalidVector):
        one.add(vectors=[[1, 2], [1, 2, 3]])
    one.add(vectors=[[1, 2, 3]])
    with pytest.raises(SpecMismatch, match="4 dimensions, the field 'vector' has 3"):
        two.add(vectors=[[1, 2, 3, 4]])
    assert two.search([1, 2, 3]).ids == [1]


def test_names_can_be_changed_and_misspelt(db, three) -> None:
    db.collection("other", dim=1)
    with pytest.raises(AlreadyExists, match="'other' exists"):
        db.rename("docs", "other")
    with pytest.raises(NotFound, match="did you mean 'docs'"):
        db.collection("dcos")
    db.rename("docs", "texts")
    assert db.collection("texts").get().ids == ["a", "b", "c"]
    with pytest.raises(NotFound, match="'docs'"):
        three.count()
    db.drop("texts")
    with pytest.raises(NotFound):
        db.drop("texts")
    assert db.collections() == ["other"]


@pytest.mark.parametrize("now", [{"dtype": "i8"}, {"dtype": "f16"}, {"dim": 3}, {"vectors": {"x": {"dim": 2}}}])
def test_a_handle_of_a_collection_made_anew_otherwise_never_writes_into_it(db, three, now) -> None:
    db.drop("docs")
    new = db.collection("docs", **({"dim": 2} if "dim" not in now and "vectors" not in now else {}), **now)
    with pytest.raises(SpecMismatch):
        three.add(ids=["x"], vectors=[[1, 2]])
    assert len(new) == 0
    assert db.verify().ok


def test_a_dropped_collection_leaves_nothing_to_one_of_the_same_name(db, three) -> None:
    three.search([0, 0])
    db.drop("docs")
    again = db.collection("docs", dim=2, metric="l2")
    assert (again.count(), again.search([0, 0]).ids, again.count("n = 1")) == (0, [], 0)
    again.add(ids=[1], vectors=[[5, 5]])  # of another type, too
    assert again.search([0, 0]).ids == [1]
    db.compact()
    assert db.verify().ok
