"""Embedding as the rest of vicinal does it: checked, in batches, with one kind of failure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vicinal.embedding.checking import check_text, check_texts, check_vectors
from vicinal.errors import EmbeddingFailed, InvalidInput, VicinalError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vicinal.embedding.protocol import Embedder

__all__ = ["DEFAULT_BATCH_SIZE", "dimension_of", "embed_in_batches", "embed_query"]

DEFAULT_BATCH_SIZE = 1024

T = TypeVar("T")


def embed_in_batches(
    embedder: Embedder,
    texts: Sequence[str],
    batch_size: int = DEFAULT_BATCH_SIZE,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the vectors of `texts` as an array of shape (len(texts), dim).

    All texts are checked before the first is embedded. `progress` is told, after each batch, how many
    texts that batch had. Raises InvalidInput for a text that is empty, not a string or not Unicode,
    naming its position, and EmbeddingFailed for whatever goes wrong in the embedder.
    """
    if batch_size < 1:
        message = f"batch_size must be at least 1, not {batch_size}"
        raise InvalidInput(message)
    checked = check_texts(texts)
    dim = dimension_of(embedder)
    vectors = np.empty((len(checked), dim), dtype=np.float32)
    for start in range(0, len(checked), batch_size):
        batch = checked[start : start + batch_size]
        end = start + len(batch)
        what = f"documents {start} to {end - 1}"
        values = _guarded(embedder, what, partial(embedder.embed_documents, batch))
        vectors[start:end] = check_vectors(values, rows=len(batch), dim=dim, source=embedder.identity)
        if progress is not None:
            progress(len(batch))
    return vectors


def dimension_of(embedder: Embedder) -> int:
    """Return the length of an embedder's vectors. Raises EmbeddingFailed where it cannot tell."""
    return _guarded(embedder, "its dimension", lambda: embedder.dim)


def embed_query(embedder: Embedder, text: str) -> NDArray[np.float32]:
    """Return the vector of a query, of shape (dim,), with the checks of `embed_in_batches`."""
    check_text(text, "the query")
    dim = dimension_of(embedder)
    values = _guarded(embedder, "the query", partial(embedder.embed_query, text))
    vector: NDArray[np.float32] = check_vectors([values], rows=1, dim=dim, source=embedder.identity)[0]
    return vector


def _guarded(embedder: Embedder, what: str, call: Callable[[], T]) -> T:
    """Run foreign code; every failure of its own becomes an EmbeddingFailed."""
    try:
        return call()
    except VicinalError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        message = f"embedder {shorten(embedder.identity)} failed on {what}: {shorten(reason, 200)}"
        raise EmbeddingFailed(message) from error
