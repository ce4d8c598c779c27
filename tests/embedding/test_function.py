"""Plain functions as embedders."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from vicinal.embedding import FunctionEmbedder, embed_in_batches, embed_query, resolve
from vicinal.errors import EmbeddingFailed, InvalidInput


def lengths(texts):
    return [[float(len(text)), 1.0, 0.0] for text in texts]


class Recorder:
    def __init__(self, function=lengths):
        self.function = function
        self.calls = []

    def __call__(self, texts):
        self.calls.append(list(texts))
        return self.function(texts)


def test_dimension_is_found_on_first_use_and_kept():
    recorder = Recorder()
    embedder = resolve(recorder)
    assert recorder.calls == []
    assert embedder.dim == 3
    assert embedder.dim == 3
    assert len(recorder.calls) == 1


def test_vectors_are_float32_in_order():
    vectors = resolve(lengths).embed_documents(["a", "bbb"])
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [1.0, 3.0]
    assert resolve(lengths).embed_query("four").tolist() == [4.0, 1.0, 0.0]


def test_no_documents_need_no_call_but_a_width():
    assert resolve(lengths).embed_documents([]).shape == (0, 3)


def test_identity_names_the_function():
    assert resolve(lengths).identity == f"callable:{lengths.__module__}.lengths"
    assert resolve(Recorder()).identity.endswith(".Recorder")
    assert resolve(functools.partial(lengths)).identity == "callable:functools.partial"
    assert FunctionEmbedder(lengths, name="lengths@2").identity == "callable:lengths@2"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], "shape"),
        ([1.0, 2.0], "shape"),
        ([[]], "shape"),
        ([[1.0, float("nan")]], "NaN or infinity"),
        ([[1e300, 0.0]], "NaN or infinity"),
        ([["a", "b"]], "values instead of numbers"),
        (None, "values instead of numbers"),
        ([[1.0], [2.0, 3.0]], "returned no array"),
        ([[True, False]], "values instead of numbers"),
    ],
)
def test_unusable_results_are_refused(result, reason):
    with pytest.raises(EmbeddingFailed, match=reason):
        _ = resolve(lambda _texts: result).dim


def test_a_changing_width_is_refused():
    embedder = resolve(lambda texts: np.ones((len(texts), len(texts))))
    assert embedder.dim == 1
    with pytest.raises(EmbeddingFailed, match=r"returned shape \(2, 2\) instead of \(2, 1\)"):
        embedder.embed_documents(["a", "b"])


def test_errors_of_the_function_name_the_rows():
    def fails_late(texts):
        if "c" in texts:
            raise KeyError("no such model")
        return np.ones((len(texts), 2))

    with pytest.raises(EmbeddingFailed, match=r"failed on documents 2 to 3: .*KeyError.*no such model") as caught:
        embed_in_batches(resolve(fails_late), ["a", "b", "c", "d"], batch_size=2)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_query_is_checked_like_documents():
    embedder = resolve(lambda texts: np.full((len(texts), 2), 1.0 if texts == ["vicinal"] else np.nan))
    with pytest.raises(EmbeddingFailed, match="NaN"):
        embed_query(embedder, "what")
    with pytest.raises(InvalidInput, match="the query is empty"):
        embed_query(embedder, "  ")


def test_asynchronous_functions_are_refused():
    async def embed(texts):
        return lengths(texts)

    with pytest.raises(InvalidInput, match="asynchronous"):
        resolve(embed)
