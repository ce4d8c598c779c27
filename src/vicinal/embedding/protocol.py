"""What an embedder is.

The contract, for whoever writes one:

* `identity` is a stable string. Two embedders with one identity must give the same vector for the same
  text; anything that changes vectors (model, revision, truncation, prefix) belongs into it.
* Results are finite float32, one row per text and in their order. They need not have unit length.
* The vector of a text does not depend on what else is in the batch.
* Texts are never empty: the callers of this room refuse those first.
* Both methods may be called from several threads at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedder", "Modality"]

Modality = Literal["text", "image", "audio"]


class Embedder(Protocol):
    """Turns documents and queries into vectors of one space."""

    @property
    def identity(self) -> str:
        """Name the vector space, for example `wordllama:l2_supercat_256+lower@0.4`."""
        ...

    @property
    def dim(self) -> int:
        """Return the length of each vector."""
        ...

    @property
    def modality(self) -> Modality:
        """Tell what is embedded."""
        ...

    def embed_documents(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Return an array of shape (len(texts), dim)."""
        ...

    def embed_query(self, text: str, /) -> NDArray[np.float32]:
        """Return an array of shape (dim,); some models embed questions unlike answers."""
        ...
