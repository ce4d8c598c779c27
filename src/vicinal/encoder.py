"""From what callers give, texts or numbers, to the vectors of one collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vicinal.embedding import embed_in_batches, embed_query, resolve
from vicinal.errors import InvalidInput, SpecMismatch, shorten
from vicinal.vectors import parse_vector, parse_vectors, spec_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicinal.backend import CollectionInfo, FieldSpec
    from vicinal.embedding import Embedder
    from vicinal.intake import Columns

_EMBED_AT_ONCE = 1024


class Encoder:
    """Makes vectors for a collection; resolves its embedder when one is first needed.

    The embedder fills the first vector field.
    """

    def __init__(self, info: CollectionInfo, embedder: Embedder | None) -> None:
        self._info = info
        self._embedder = embedder

    def model(self) -> Embedder:
        """Return the collection's embedder.

        Raises InvalidInput where it has none, NotFound where only a caller has it (a function), and
        SpecMismatch where the installed model gives other vectors than those stored.
        """
        stored = self._info.embedder
        if self._embedder is None:
            if stored is None:
                message = f"{self._info.name!r} has no embedder: give vectors, or create it with embedder='wordllama'"
                raise InvalidInput(message)
            found = resolve(stored)
            if found.identity != stored:
                message = f"{self._info.name!r} holds vectors of {stored!r}, installed is {found.identity!r}"
                raise SpecMismatch(message)
            self._embedder = found
        return self._embedder

    def fill(self, columns: Columns, progress: Callable[[int], None] | None = None) -> Columns:
        """Return the columns with vectors of the documents, where the embedder makes them and none are given."""
        given = columns.vectors
        if columns.documents is None or self._info.embedder is None:
            return columns
        first = self._info.fields[0].name
        if given is not None and (not isinstance(given, Mapping) or first in given):
            return columns
        columns.length()
        documents = list(columns.documents)
        having = [at for at, text in enumerate(documents) if text is not None]
        vectors: list[object] | NDArray[np.float32] = [None] * len(documents)
        if having:
            texts = [documents[at] for at in having]
            found = embed_in_batches(self.model(), texts, _EMBED_AT_ONCE, progress)
            if len(having) == len(documents):
                vectors = found
            else:
                rows = dict(zip(having, found, strict=True))
                vectors = [rows.get(at) for at in range(len(documents))]
        return replace(columns, vectors={**(given or {}), first: vectors})

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return query texts as vectors (n, dim) of the embedder."""
        model = self.model()
        return np.stack([embed_query(model, text) for text in texts])

    def queries(self, info: CollectionInfo, vectors: object, using: str | None, *, batch: bool) -> NDArray[np.generic]:
        """Return query vectors as (n, width) in the storage type of the field `using`."""
        entry = field_of(info, using)
        if entry.dim is None:  # an empty field: any query finds nothing
            return np.zeros((len(cast("Sequence[object]", vectors)) if batch else 1, 1), np.float32)
        spec = spec_for(entry.dim, entry.dtype, entry.metric)
        quantize = cast("Any", info.quantize)
        if batch:
            return parse_vectors(vectors, spec, quantize=quantize)
        return parse_vector(vectors, spec, quantize=quantize).reshape(1, -1)


def field_of(info: CollectionInfo, using: str | None) -> FieldSpec:
    """Return the vector field to search. Raises InvalidInput naming those there are."""
    if using is None and len(info.fields) == 1:
        return info.fields[0]
    names = {entry.name: entry for entry in info.fields}
    if using in names:
        return names[using]
    listed = ", ".join(map(repr, names))
    if using is None:
        message = f"{info.name!r} has several vector fields; say which with using=: {listed}"
    else:
        message = f"{info.name!r} has no vector field {shorten(using)}; there are: {listed}"
    raise InvalidInput(message)
