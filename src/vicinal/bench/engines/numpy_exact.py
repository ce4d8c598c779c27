"""Exact search by matrix products: the baseline that needs nothing."""
# ruff: noqa: D102 - the protocol states what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vicinal.bench.engines.protocol import Durability, Engine, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPARE = 32
_QUERIES = 64  # at once: the products of more would not stay small beside the vectors


class NumpyExact(Engine):
    """All vectors in one array; float32 products choose candidates, float64 ones order them."""

    durability: ClassVar[Durability] = "memory"

    def create(self, place: Place) -> None:
        self._metric = place.metric
        self._vectors = np.empty((place.rows, place.dim), np.float32)
        self._offsets = np.empty(place.rows, np.float32)
        self._n = 0

    def add(self, start: int, vectors: NDArray[np.float32]) -> None:
        end = start + len(vectors)
        if self._metric == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors[start:end] = vectors
        if self._metric == "l2":
            self._offsets[start:end] = np.einsum("ij,ij->i", vectors, vectors)
        self._n = end

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.search_batch(query[None], k)[0]
        return ids

    def search_batch(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        k = min(k, self._n)
        found = np.empty((len(queries), k), np.int64)
        vectors = self._vectors[: self._n]
        for start in range(0, len(queries), _QUERIES):
            part = queries[start : start + _QUERIES]
            scores = vectors @ part[0] if len(part) == 1 else part @ vectors.T
            scores = scores.reshape(len(part), -1)
            if self._metric == "l2":
                scores -= self._offsets[: self._n] / 2
            for at, query in enumerate(part):
                found[start + at] = self._ordered(scores[at], query, k)
        return found

    def _ordered(self, scores: NDArray[np.float32], query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the k best rows; scores are higher for nearer rows, up to their rounding."""
        n = min(self._n, k + _SPARE)
        candidates = np.argpartition(scores, self._n - n)[self._n - n :]
        rows, asked = self._vectors[candidates].astype(np.float64), query.astype(np.float64)
        keys = ((rows - asked) ** 2).sum(axis=1) if self._metric == "l2" else -(rows @ asked)
        return candidates[np.lexsort((candidates, keys))[:k]]
