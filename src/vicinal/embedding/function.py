"""An embedder around a plain function from a list of texts to a list of vectors."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vicinal.embedding.checking import check_vectors
from vicinal.errors import InvalidInput, shorten

if TYPE_CHECKING:
    from vicinal.embedding.protocol import Modality

__all__ = ["EmbeddingFunction", "FunctionEmbedder"]

EmbeddingFunction: TypeAlias = Callable[[list[str]], ArrayLike]

PROBE = "vicinal"


class FunctionEmbedder:
    """Embeds documents and queries alike by calling a function.

    Without a name the identity is `callable:<module>.<qualname>`. Give one where that says too little:
    two models behind one method (`model.encode`), lambdas, or a revision that must not be mixed.

    >>> embedder = FunctionEmbedder(lambda texts: [[float(len(text)), 1.0] for text in texts], name="length")
    >>> embedder.identity, embedder.dim
    ('callable:length', 2)
    """

    modality: Modality = "text"

    def __init__(self, function: EmbeddingFunction, *, name: str | None = None) -> None:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            message = f"an embedder must be an ordinary function, not asynchronous: {shorten(function)}"
            raise InvalidInput(message)
        self._function = function
        self._lock = threading.Lock()
        self._dim: int | None = None
        self.identity = f"callable:{name or _qualified_name(function)}"

    @property
    def dim(self) -> int:
        """The length of the vectors; the first time, a word is embedded to find out."""
        with self._lock:
            if self._dim is None:
                probe = check_vectors(self._function([PROBE]), rows=1, dim=None, source=self.identity)
                self._dim = probe.shape[1]
            return self._dim

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what the function returns for all texts at once, checked, as float32."""
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        values = self._function(list(texts))
        return check_vectors(values, rows=len(texts), dim=self.dim, source=self.identity)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of one text."""
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    def __repr__(self) -> str:
        return f"<FunctionEmbedder {self.identity}>"


def _qualified_name(function: EmbeddingFunction) -> str:
    """Return a function's module and name, or its type's where it has none (a partial, an instance)."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
