"""What comes back: sequences of frozen rows, arrays, tables."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vicinal.errors import InvalidFilter, InvalidInput, NotFound, Unsupported

if TYPE_CHECKING:
    import vicinal


@pytest.fixture
def hits(three) -> vicinal.Hits:
    return three.search([0, 0], include=["document", "metadata", "vector"])


def test_hits_are_a_sequence_of_frozen_hits(hits) -> None:
    assert len(hits) == 3
    assert [hit.id for hit in hits] == hits.ids == ["a", "b", "c"]
    assert hits[-1] == hits[2] != hits[0]
    assert [hit.id for hit in hits[1:]] == ["b", "c"]
    assert [hit.id for hit in hits[::-2]] == ["c", "a"]
    for outside in (3, -4):
        with pytest.raises(IndexError, match=f"index {outside} of 3 rows"):
            hits[outside]
    with pytest.raises(dataclasses.FrozenInstanceError):
        hits[0].id = "x"
    assert (hits[1].score, hits[1].distance, hits[1].document, hits[1].metadata) == (-1, 1, None, {"n": 2, "tag": "x"})
    assert hits.scores.dtype == hits.distances.dtype == np.float32


def test_hits_become_dicts_frames_and_tables(hits) -> None:
    first = {"id": "a", "score": 0.0, "distance": 0.0, "document": "first", "metadata": {"n": 1}}
    dicts = hits.to_dicts()
    assert {key: value for key, value in dicts[0].items() if key != "vector"} == first
    assert dicts[2]["vector"].tolist() == [2, 0]
    frame = hits.to_pandas()
    assert list(frame.columns) == [*first, "vector"]
    assert frame["id"].tolist() == ["a", "b", "c"]
    table = hits.to_arrow()
    assert table.column_names == [*first, "vector"]
    assert table["vector"].to_pylist() == [[0, 0], [1, 0], [2, 0]]


def test_what_was_not_asked_for_is_not_there(three) -> None:
    hits = three.search([0, 0], include=())
    assert hits.to_dicts()[0] == {"id": "a", "score": 0.0, "distance": 0.0}
    assert (hits[0].document, hits[0].metadata, hits[0].vector) == (None, None, None)
    assert three.get(include="document").to_dicts()[1] == {"id": "b", "document": None}
    with pytest.raises(InvalidInput, match=r"'document', 'metadata', 'vector'.*got 'vectors'"):
        three.get(include=["vectors"])


def test_results_show_themselves_as_tables(docs, three) -> None:
    three.upsert(ids=["b"], vectors=[[1, 0]], documents=["<b>bold</b> & " + "long " * 50])
    hits = three.search([0, 0])
    lines = repr(hits).splitlines()
    assert lines[0].split() == ["id", "score", "distance", "document", "metadata"]
    assert lines[1].split()[:4] == ["a", "0.0000", "0.0000", "first"]
    assert len(lines) == 4
    assert "…" in lines[2]
    page = hits._repr_html_()
    assert "&lt;b&gt;bold" in page
    assert "<b>" not in page
    assert repr(three.search([0, 0], where="n = 99")) == "Hits: no rows"
    docs.add(ids=[str(at) for at in range(30)], vectors=np.zeros((30, 2)))
    assert repr(docs.get()).splitlines()[-1] == "… 13 more"


@pytest.mark.parametrize(("kind", "blank"), [(int, -1), (str, None)])
def test_batches_are_padded(docs, kind, blank) -> None:
    docs.add(ids=[kind(7), kind(3)], vectors=[[0, 0], [2, 0]])
    found = docs.search_batch([[0, 0], [2, 0]], k=3, arrays=True)
    assert found.ids.tolist() == [[kind(7), kind(3), blank], [kind(3), kind(7), blank]]
    assert found.distances.tolist() == [[0, 2, np.inf]] * 2
    assert found.scores.tolist() == [[0, -2, -np.inf]] * 2
    lists = docs.search_batch([[0, 0], [2, 0]], k=3)
    assert [hits.ids for hits in lists] == [[kind(7), kind(3)], [kind(3), kind(7)]]


def test_an_empty_batch_and_an_empty_collection_have_empty_answers(docs) -> None:
    assert docs.search([0, 0]).ids == []
    assert docs.search_batch([[0, 0]], k=2, arrays=True).ids.tolist() == [[-1, -1]]
    assert docs.search_batch(np.empty((0, 2))) == []
    assert docs.search_batch(np.empty((0, 2)), k=4, arrays=True).ids.shape == (0, 4)


@pytest.mark.parametrize("ids", [[5, 3, 4, 1, 2, 2**40, -1], ["b", "é", "a", "B", "10", "9"]], ids=["int", "str"])
@pytest.mark.parametrize("metric", ["cosine", "l2", "dot", "l1"])
def test_ties_come_in_the_order_of_ids(db, ids, metric) -> None:
    docs = db.collection("ties", dim=2, metric=metric)
    docs.add(ids=ids, vectors=[[1, 1]] * len(ids))
    assert docs.search([1, 2], k=100).ids == sorted(ids)
    assert docs.search([1, 2], k=3).ids == sorted(ids)[:3]


def test_distances_beyond_float32_still_put_the_nearest_first(docs) -> None:
    docs.add(ids=[3, 2, 1, 0], vectors=[[3e38, 3e38], [-3e38, 3e38], [0, 0], [-3e38, -3e38]])
    hits = docs.search([-3e38, -3e38])
    assert hits.ids == [0, 1, 2, 3]
    assert hits.distances.tolist() == [0, np.inf, np.inf, np.inf]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda docs: docs.search(), InvalidInput, "give one query"),
        (lambda docs: docs.search([0, 0], vector=[0, 0]), InvalidInput, "once"),
        (lambda docs: docs.search(["a", "b"]), InvalidInput, "search_batch"),
        (lambda docs: docs.search("text"), InvalidInput, "no embedder: give vectors"),
        (lambda docs: docs.search([0, 0], k=0), InvalidInput, "k is a whole number from 1"),
        (lambda docs: docs.search([0, 0], k=2.0), InvalidInput, "k is a whole number"),
        (lambda docs: docs.search([0, 0], k=True), InvalidInput, "k is a whole number"),
        (lambda docs: docs.search([0, 0], recall=0), InvalidInput, "recall is a number above 0"),
        (lambda docs: docs.search([0, 0], mode="text"), Unsupported, "full text"),
        (lambda docs: docs.search([0, 0], mode="fast"), InvalidInput, "mode is"),
        (lambda docs: docs.search([0, float("nan")]), InvalidInput, "nan"),
        (lambda docs: docs.search([[0, 0], [1, 1]]), InvalidInput, "expected one vector, got 2"),
        (lambda docs: docs.search([0, 0], where="n >"), InvalidFilter, "n >"),
        (lambda docs: docs.search([0, 0], where={"n": {"$gtt": 1}}), InvalidFilter, r"\$gtt"),
        (lambda docs: docs.search([0, 0], where=5), InvalidFilter, "got 5"),
        (lambda docs: docs.get(limit=-1), InvalidInput, "limit is a whole number from 0"),
        (lambda docs: docs.get(order_by=[""]), InvalidInput, "order_by takes"),
        (lambda docs: docs["gone"], NotFound, "no row with id 'gone'"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_wrong(three, call, error, says) -> None:
    with pytest.raises(error, match=says):
        call(three)


def test_explain_counts_and_names_unknown_fields(three) -> None:
    told = three.explain([0, 0], k=2, where="(n >= 1 and yaer > 3) or n.deep = 1 or n = 2")
    assert (told.rows, told.passing, told.returned, told.recall) == (3, 1, 1, 1.0)
    assert told.unknown_fields == ("n.deep", "yaer")
    assert "no row has the field 'yaer'" in str(told)
    assert three.explain([0, 0]).unknown_fields == ()
    assert told.to_dict()["passing"] == 1


def test_metadata_without_a_common_type_becomes_json_text_in_arrow(db) -> None:
    docs = db.collection("mixed", dim=2)
    docs.add(ids=["a", "b"], vectors=[[1, 0], [0, 1]], metadata=[{"n": 1}, {"n": "x"}])
    assert docs.get().to_arrow()["metadata"].to_pylist() == ['{"n": 1}', '{"n": "x"}']
