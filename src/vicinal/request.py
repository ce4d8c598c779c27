"""What a caller asks for, as one frozen value that travels through all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from vicinal.errors import InvalidInput, shorten
from vicinal.settings import MAX_K

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicinal.filters import Node

Include = Literal["document", "metadata", "vector"]
INCLUDES: Final = ("document", "metadata", "vector")


def check_include(include: object) -> tuple[Include, ...]:
    """Return the parts of a row to bring, each one of INCLUDES."""
    names = (include,) if isinstance(include, str) else include
    try:
        found = tuple(dict.fromkeys(names))  # type: ignore[call-overload]
    except TypeError:
        found = (include,)
    for name in found:
        if name not in INCLUDES:
            message = f"include takes {', '.join(map(repr, INCLUDES))}; got {shorten(name)}"
            raise InvalidInput(message)
    return found


def check_count(value: object, name: str, low: int, high: int = MAX_K) -> int:
    """Return an int from `low` to `high`."""
    if hasattr(value, "__index__") and not isinstance(value, bool):
        number = int(value)
        if low <= number <= high:
            return number
    message = f"{name} is a whole number from {low} to {high:,}, not {shorten(value)}"
    raise InvalidInput(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search, or a batch of searches with the same settings.

    vectors: shape (n, width) in the field's storage type, or None for a search by text alone.
    texts: one per query where the request carries text.
    """

    vectors: NDArray[np.generic] | None = None
    texts: tuple[str, ...] | None = None
    k: int = 10
    where: Node | None = None
    mode: Literal["auto", "vector", "text", "hybrid"] = "auto"
    recall: float = 0.95
    exact: bool = False
    include: tuple[Include, ...] = ("document", "metadata")
    using: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequest:
    """Rows by id or by filter, in an order."""

    ids: tuple[int | str, ...] | None = None
    where: Node | None = None
    order_by: tuple[tuple[tuple[str, ...], bool], ...] = ()
    """(path, descending), first the most significant."""
    limit: int | None = None
    offset: int = 0
    include: tuple[Include, ...] = ("document", "metadata")
