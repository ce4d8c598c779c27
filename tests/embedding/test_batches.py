"""Embedding in batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.embedding import embed_in_batches, resolve
from vicinal.errors import InvalidInput


def codes(texts):
    return [[len(text), ord(text[0])] for text in texts]


visible_text = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: not text.isspace())


@given(st.lists(visible_text), st.integers(1, 5))
def test_batches_do_not_change_the_result(texts, batch_size):
    done = []
    vectors = embed_in_batches(resolve(codes), texts, batch_size, done.append)
    assert vectors.tolist() == [[float(a), float(b)] for a, b in codes(texts)]
    assert vectors.shape == (len(texts), 2)
    assert sum(done) == len(texts)
    assert all(0 < n <= batch_size for n in done)


def test_texts_are_checked_before_the_first_is_embedded():
    calls = []

    def embed(texts):
        calls.append(texts)
        return np.ones((len(texts), 2))

    with pytest.raises(InvalidInput, match="document 3 is empty"):
        embed_in_batches(resolve(embed), ["a", "b", "c", " "], batch_size=2)
    assert calls == []


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ("one text", "wrap it in a list"),
        (["a", None], "document 1 is not text but NoneType"),
        (["a", b"b"], "document 1 is not text but bytes"),
    ],
)
def test_what_is_not_a_list_of_texts_is_refused(texts, reason):
    with pytest.raises(InvalidInput, match=reason):
        embed_in_batches(resolve(codes), texts)


def test_a_batch_has_at_least_one_text():
    with pytest.raises(InvalidInput, match="batch_size"):
        embed_in_batches(resolve(codes), ["a"], batch_size=0)
