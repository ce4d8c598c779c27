"""Collections that make vectors themselves, and whose vectors they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vicinal.errors import EmbeddingFailed, InvalidInput, NotFound, SpecMismatch

if TYPE_CHECKING:
    import vicinal


def letters(texts: list[str]) -> np.ndarray:
    """Count the letters a and b."""
    return np.array([[text.count("a") + 0.5, text.count("b") + 0.5] for text in texts])


def other(texts: list[str]) -> np.ndarray:
    return letters(texts)[:, ::-1]


@pytest.fixture
def texts(db) -> vicinal.Collection:
    docs = db.collection("texts", embedder=letters)
    docs.add(ids=["aa", "bb"], documents=["aaa", "bbb"])
    return docs


def test_documents_are_found_by_text_or_vector(texts) -> None:
    assert texts.search("a banana").ids == texts.search(text="a banana").ids == ["aa", "bb"]
    assert texts.search([0, 1]).ids == texts.search(vector=[0, 1]).ids == ["bb", "aa"]
    assert [hits.ids[0] for hits in texts.search_batch(["aa", "bb"])] == ["aa", "bb"]
    assert texts.info()["fields"][0]["dim"] == 2


def test_a_new_document_is_embedded_anew_and_own_vectors_are_kept(texts) -> None:
    texts.update(ids=["aa"], documents=["bbbb"])
    assert texts.search("bbbb", k=1).ids == ["aa"]
    texts.upsert(ids=["own"], documents=["aaaa"], vectors=[[0, 9]])
    assert texts["own"].vector.tolist() == [0, 9]


def test_opening_needs_no_embedder_until_one_is_used(path, db, texts) -> None:
    again = db.collection("texts")
    assert again.search([1, 0], k=1).ids == ["aa"]
    with pytest.raises(NotFound, match="was a function: open the collection with that function"):
        again.search("a")
    assert db.collection("texts", embedder=letters).search("a", k=1).ids == ["aa"]


def test_another_embedder_is_refused_with_both_names(db, texts) -> None:
    with pytest.raises(SpecMismatch, match=r"callable:.*letters.*callable:.*other"):
        db.collection("texts", embedder=other)
    with pytest.raises(SpecMismatch, match=r"dim=3 contradicts the embedder .* gives 2"):
        db.collection("new", dim=3, embedder=letters)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (lambda texts: np.ones((len(texts) + 1, 2)) if "x" in texts else letters(texts), EmbeddingFailed),
        (lambda texts: letters(texts) * (np.nan if "x" in texts else 1), EmbeddingFailed),
        (lambda texts: 1 / ("x" not in texts) * letters(texts), ZeroDivisionError),
    ],
    ids=["shape", "nan", "raises"],
)
def test_an_embedder_that_fails_stores_nothing(db, broken, error) -> None:
    docs = db.collection("broken", embedder=broken)
    before = docs.info()
    with pytest.raises((error, EmbeddingFailed)):
        docs.add(ids=["1", "2"], documents=["fine", "x"])
    assert docs.info() == before


@pytest.mark.parametrize("wrong", [5, int, "no-such", object()])
def test_what_is_no_embedder_is_refused(db, wrong) -> None:
    with pytest.raises((InvalidInput, NotFound, EmbeddingFailed)):
        db.collection("new", embedder=wrong)
    assert db.collections() == []
