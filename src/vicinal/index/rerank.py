"""The last step of an approximate search: candidates compared by their exact distances."""

from __future__ import annotations

__all__ = ["VectorsAt", "rerank"]

type_of_vectors_at = "Callable[[NDArray[np.int64]], NDArray[Any]]"
