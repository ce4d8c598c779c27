"""WordLlama: small, fast static embeddings that need neither a network nor a GPU.

The 256-dimensional model comes inside the `wordllama` package. A text's vector is the mean of its tokens'
vectors, scaled to unit length. Two properties of the model shape this module:

* Its vocabulary is that of Llama 2 and knows case: `HELLO WORLD` falls into six fragments that mean nothing.
  All text is therefore lower-cased. Measured as nDCG@10 on SciFact, Cranfield and 634 film plots, queries in
  capitals go from .136 and .061 to .509 and .308, lower-case queries for films from .331 to .387, while text
  in mixed case loses at most .010 (.513 to .509, .308 to .308, .397 to .387).
* The mean over no tokens is NaN, so that empty text is refused.

Tokens are pooled here, text by text, because the package's own method pads a batch to its longest text:
one long document among short ones would cost gigabytes, and rounding would depend on the batch.
There is no limit on length and nothing is cut off, but the mean over a long text says little: a few
hundred words are best.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.embedding.checking import check_text, check_texts
from vicinal.errors import EmbeddingFailed, MissingExtra, SpecMismatch, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from vicinal.embedding.protocol import Modality

__all__ = ["WordLlamaEmbedder"]

MODEL = "l2_supercat"
DIM = 256
TOKENIZED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    tokenizer: Any  # tokenizers.Tokenizer, whose package is optional
    token_vectors: NDArray[np.float32]


_model: _Model | None = None
_model_lock = threading.Lock()


class WordLlamaEmbedder:
    """Embeds text with the model that the `wordllama` package contains, some 40,000 sentences a second.

    The model is loaded on first use (0.2 s, 32 MB) and shared by all instances. Vectors have unit length and
    do not depend on case.
    """

    dim = DIM
    modality: Modality = "text"

    def __init__(self) -> None:
        if importlib.util.find_spec("wordllama") is None:
            raise MissingExtra.of("the wordllama embedder", "embed")
        release = ".".join(importlib.metadata.version("wordllama").split(".")[:2])
        self.identity = f"wordllama:{MODEL}_{DIM}+lower@{release}"

    @classmethod
    def from_argument(cls, argument: str) -> WordLlamaEmbedder:
        """Return the embedder; an argument must be the identity that the installed package gives."""
        embedder = cls()
        if argument and f"wordllama:{argument}" != embedder.identity:
            message = (
                f"embedder {shorten('wordllama:' + argument)} is wanted, but the installed package gives "
                f"{embedder.identity!r}; install the other release, or reembed the collection"
            )
            raise SpecMismatch(message)
        return embedder

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of shape (len(texts), 256); raise InvalidInput for an empty text."""
        checked = check_texts(texts)
        vectors = np.empty((len(checked), DIM), dtype=np.float32)
        model = _load_model()
        for row, ids in enumerate(_token_ids(model, checked)):
            vectors[row] = _mean_direction(model.token_vectors, ids)
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of one text, the same as among documents."""
        model = _load_model()
        encoding = model.tokenizer.encode(check_text(text, "the query").lower(), add_special_tokens=False)
        return _mean_direction(model.token_vectors, encoding.ids)

    def __repr__(self) -> str:
        return f"<WordLlamaEmbedder {self.identity}>"


def _token_ids(model: _Model, texts: list[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), TOKENIZED_AT_ONCE):
        lowered = [text.lower() for text in texts[start : start + TOKENIZED_AT_ONCE]]
        for encoding in model.tokenizer.encode_batch_fast(lowered, add_special_tokens=False):
            yield encoding.ids


def _mean_direction(token_vectors: NDArray[np.float32], ids: list[int]) -> NDArray[np.float32]:
    """Return the unit vector along the sum of the tokens' vectors."""
    n_tokens = len(token_vectors)
    if len(ids) <= n_tokens:
        total = token_vectors.take(ids, axis=0).sum(axis=0)
    else:  # counting keeps the memory for a book-long text that of the vocabulary
        total = np.bincount(ids, minlength=n_tokens).astype(np.float32) @ token_vectors
    length = float(np.linalg.norm(total))
    if not length > 0.0:
        message = f"wordllama found no meaning in a text of {len(ids)} tokens"
        raise EmbeddingFailed(message)
    direction: NDArray[np.float32] = total / np.float32(length)
    return direction


def _load_model() -> _Model:
    global _model  # noqa: PLW0603 - one model per process
    if _model is None:
        with _model_lock:
            if _model is None:
                _model = _read_model()
    return _model


def _read_model() -> _Model:
    package = _import_quietly()
    try:
        loaded = package.WordLlama.load(
            config=MODEL,
            dim=DIM,
            # `load()` alone looks for the tokenizer in the home directory and would download it.
            cache_dir=Path(str(package.__file__)).parent,
            disable_download=True,
        )
    except OSError as error:
        message = f"the installed wordllama package does not contain the model {MODEL}_{DIM}: {error}"
        raise EmbeddingFailed(message) from error
    loaded.tokenizer.no_padding()
    return _Model(tokenizer=loaded.tokenizer, token_vectors=loaded.embedding)


def _import_quietly() -> ModuleType:
    """Import wordllama without the handler and level that it gives the program's root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        return importlib.import_module("wordllama")
    except ImportError as error:
        raise MissingExtra.of("the wordllama embedder", "embed") from error
    finally:
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
        root.setLevel(level)
