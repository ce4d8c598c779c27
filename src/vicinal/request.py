"""What a caller asks for, as one frozen value that travels through all layers."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack

from vicinal.errors import InvalidInput, Unsupported, shorten
from vicinal.filters import parse_filter, parse_path
from vicinal.indexing import check_effort
from vicinal.settings import MAX_K

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vicinal.filters import Expression, Node

    Where = str | Mapping[str, object] | Expression | Node | None

Include = Literal["document", "metadata", "vector", "expires"]
INCLUDES: Final = ("document", "metadata", "vector", "expires")


def check_include(include: object) -> tuple[Include, ...]:
    """Return the parts of a row to bring, each one of INCLUDES."""
    if isinstance(include, tuple) and not include:
        return ()
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


def check_order(order_by: str | Sequence[str] | None) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """Return (path, descending) of each field to order by."""
    if not isinstance(order_by, (str, list, tuple, NoneType)):
        message = f"order_by takes metadata fields such as 'year' or '-year', not {shorten(order_by)}"
        raise InvalidInput(message)
    names = [] if order_by is None else [order_by] if isinstance(order_by, str) else list(order_by)
    found = []
    for name in names:
        if not isinstance(name, str) or not name.lstrip("-"):
            message = f"order_by takes metadata fields such as 'year' or '-year', not {shorten(name)}"
            raise InvalidInput(message)
        found.append((parse_path(name.removeprefix("-")), name.startswith("-")))
    return tuple(found)


class SearchOptions(TypedDict, total=False):
    """The options that all searches share; `Collection.search` says what each means."""

    k: int
    where: Where
    mode: str
    recall: float
    exact: bool
    radius: float | None
    include: Iterable[Include]
    using: str | None
    effort: Mapping[str, int] | None


_OPTIONS: Final = frozenset(SearchOptions.__annotations__)


def _refuse_unknown(options: Iterable[str]) -> None:
    name = next(each for each in options if each not in _OPTIONS)
    close = difflib.get_close_matches(name, _OPTIONS, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(SearchOptions.__annotations__)}"
    message = f"a search has no option {name!r}; {hint}"
    raise InvalidInput(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search, or a batch of searches with the same settings.

    vectors: shape (n, width) in the field's storage type, or None for a search by text alone.
    texts: one per query where the request carries text.
    collection: identity of the collection whose type the vectors have.
    """

    vectors: NDArray[np.generic] | None = None
    texts: tuple[str, ...] | None = None
    collection: int | None = None
    k: int = 10
    where: Node | None = None
    mode: Literal["auto", "vector", "text", "hybrid"] = "auto"
    recall: float = 0.95
    exact: bool = False
    radius: float | None = None
    """The largest distance of a hit."""
    include: tuple[Include, ...] = ("document", "metadata")
    using: str | None = None
    effort: Mapping[str, int] | None = None
    """How hard to look, in the terms of the field's kind of index, instead of `recall`."""

    @classmethod
    def checked(cls, vectors: NDArray[np.generic], collection: int, **options: Unpack[SearchOptions]) -> SearchRequest:
        """Return the request of these options. Raises InvalidInput, InvalidFilter or Unsupported."""
        if not options.keys() <= _OPTIONS:
            _refuse_unknown(options)
        mode, recall = options.get("mode", "auto"), options.get("recall", 0.95)
        exact, effort, radius = options.get("exact", False), options.get("effort"), options.get("radius")
        if mode in ("text", "hybrid"):
            message = f"mode={mode!r} needs full text, which this version does not have; use mode='vector'"
            raise Unsupported(message)
        if mode not in ("auto", "vector"):
            message = f"mode is 'auto' or 'vector', not {shorten(mode)}"
            raise InvalidInput(message)
        if not isinstance(recall, (int, float)) or not 0 < recall <= 1:
            message = f"recall is a number above 0 and up to 1, not {shorten(recall)}"
            raise InvalidInput(message)
        number = isinstance(radius, (int, float)) and not isinstance(radius, bool) and not math.isnan(radius)
        if radius is not None and not number:
            message = f"radius is a distance, not {shorten(radius)}"
            raise InvalidInput(message)
        if exact and effort is not None:
            message = "exact=True compares every row: leave effort out"
            raise InvalidInput(message)
        return cls(
            vectors=vectors,
            collection=collection,
            k=check_count(options.get("k", 10), "k", 1, MAX_K),
            where=parse_filter(options.get("where")),
            mode="vector",
            recall=float(recall),
            exact=bool(exact),
            radius=None if radius is None else float(radius),
            include=check_include(options.get("include", ("document", "metadata"))),
            using=options.get("using"),
            effort=check_effort(effort),
        )


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
