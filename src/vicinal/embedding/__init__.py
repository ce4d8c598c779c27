"""From text to vectors.

An embedder is anything with the five members of `Embedder`; a name, an instance or a plain function
become one by `resolve`. Its `identity` is stored with every collection that it fills: vectors of
different embedders do not compare, so a different identity is an error and not a slow decline.

Callers embed through `embed_in_batches` and `embed_query`, which refuse empty text, check what comes
back and turn any failure into an `EmbeddingFailed`. Nothing here opens a file or a socket on import.
"""

from vicinal.embedding.batches import DEFAULT_BATCH_SIZE, dimension_of, embed_in_batches, embed_query
from vicinal.embedding.function import EmbeddingFunction, FunctionEmbedder
from vicinal.embedding.protocol import Embedder, Modality
from vicinal.embedding.registry import EmbedderFactory, EmbedderSpec, register, registered, resolve

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "Embedder",
    "EmbedderFactory",
    "EmbedderSpec",
    "EmbeddingFunction",
    "FunctionEmbedder",
    "Modality",
    "dimension_of",
    "embed_in_batches",
    "embed_query",
    "register",
    "registered",
    "resolve",
]
