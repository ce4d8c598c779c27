"""What goes into an embedder, and what may come out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vicinal.errors import EmbeddingFailed, InvalidInput, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["check_text", "check_texts", "check_vectors"]


def check_texts(texts: Sequence[str], *, first: int = 0) -> list[str]:
    """Return the texts as a list; refuse what no embedder can represent.

    `first` is the position of `texts[0]` in the caller's data, for the message.
    """
    if isinstance(texts, str):
        message = f"expected a list of texts, got one text: {shorten(texts)}; wrap it in a list"
        raise InvalidInput(message)
    return [check_text(text, f"document {position}") for position, text in enumerate(texts, first)]


def check_text(text: str, what: str) -> str:
    """Return `text` if it is a non-empty string of valid Unicode; `what` names it in the error."""
    if not isinstance(text, str):
        message = f"{what} is not text but {type(text).__name__}: {shorten(text)}"
        raise InvalidInput(message)
    if not text or text.isspace():
        message = (
            f"{what} is empty: {shorten(text)} has no meaning to embed; "
            "leave it out, give it text, or pass vectors= of your own"
        )
        raise InvalidInput(message)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"{what} is not valid Unicode at character {error.start}: {shorten(text)}"
            raise InvalidInput(message) from error
    return text


def check_vectors(values: object, *, rows: int, dim: int | None, source: str) -> NDArray[np.float32]:
    """Return `values` as a float32 array of shape (rows, dim), or raise EmbeddingFailed.

    With `dim=None` any width is accepted. NaN and infinity are refused with the row they are in.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        message = f"embedder {shorten(source)} returned no array: {error}"
        raise EmbeddingFailed(message) from error
    if array.dtype.kind not in "fiu":
        message = f"embedder {shorten(source)} returned {array.dtype} values instead of numbers"
        raise EmbeddingFailed(message)
    wanted = f"({rows}, {'dim' if dim is None else dim})"
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0 or dim not in {None, array.shape[1]}:
        message = f"embedder {shorten(source)} returned shape {array.shape} instead of {wanted}"
        raise EmbeddingFailed(message)
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(result).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        message = f"embedder {shorten(source)} returned NaN or infinity for document {row} of the batch"
        raise EmbeddingFailed(message)
    return result
