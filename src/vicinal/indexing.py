"""The kinds of index a vector field may have: their parameters, their efforts, what they suit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from vicinal.errors import InvalidInput, Unsupported, shorten

AUTO: Final = "auto"
STRUCTURED: Final = frozenset({"hnsw", "ivf", "scann"})
"""Kinds that are built of many rows at once; the others need nothing, or codes that grow with the rows."""
_MIN_CODED_DIM: Final = 16
_MAX_EFFORT: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Kind:
    """What may be given: parameters with their bounds when it is chosen, efforts when it is searched."""

    about: str
    parameters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    efforts: tuple[str, ...] = ()


KINDS: Final[Mapping[str, Kind]] = {
    AUTO: Kind(
        "an exact scan of few rows, a scan of codes from 16,384 rows on, a graph beside it from 250,000 on",
        {},
        ("depth",),
    ),
    "flat": Kind("always exact, without codes"),
    "scan": Kind("a scan of codes of one or two bits per dimension", {"bits": (1, 2)}, ("depth",)),
    "hnsw": Kind("a graph of neighbours", {"M": (2, 256), "ef_construction": (1, 4096)}, ("ef", "depth")),
    "ivf": Kind("lists of vectors around centroids", {"nlist": (1, 65_536)}, ("nprobe", "depth")),
    "scann": Kind("lists of codes around centroids", {"nlist": (1, 65_536), "bits": (1, 2)}, ("nprobe", "depth")),
}


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """A kind of `KINDS` and the parameters that were given; those that were not are chosen by the number of rows."""

    kind: str = AUTO
    parameters: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def checked(cls, kind: object, parameters: Mapping[str, object]) -> IndexChoice:
        """Return the choice. Raises InvalidInput that names what is unknown, and what there is."""
        if not isinstance(kind, str) or kind not in KINDS:
            message = f"index takes one of the kinds {', '.join(map(repr, KINDS))}; got {shorten(kind)}"
            raise InvalidInput(message)
        known = KINDS[kind].parameters
        for name, value in parameters.items():
            if name not in known:
                takes = ", ".join(map(repr, known)) if known else "none"
                message = f"the kind {kind!r} has no parameter {shorten(name)}; its parameters: {takes}"
                raise InvalidInput(message)
            _check_number(value, name, *known[name])
        return cls(kind, {name: int(value) for name, value in parameters.items()})  # type: ignore[call-overload]

    @classmethod
    def stored(cls, found: object) -> IndexChoice:
        """Return the choice that `to_dict` gave; the automatic one where it is none, or of a newer vicinal."""
        if not isinstance(found, Mapping) or not isinstance(found.get("parameters"), Mapping):
            return cls()
        try:
            return _stored(found.get("kind"), tuple(found["parameters"].items()))
        except (InvalidInput, TypeError):  # TypeError: a list or an object, where numbers and text should be
            return cls()

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {"kind": self.kind, "parameters": dict(self.parameters)}

    def check_suits(self, dtype: str, metric: str, dim: int | None) -> None:
        """Raise Unsupported where the kind does not go with vectors of this type (dim None: not known yet)."""
        if self.kind in (AUTO, "flat"):
            return
        if dtype == "bit" or metric not in ("cosine", "l2", "dot"):
            message = (
                f"the kind {self.kind!r} is for f32, f16 and i8 by cosine, l2 or dot, not for {dtype} by {metric}; "
                "'flat' and 'auto' compare those exactly"
            )
            raise Unsupported(message)
        if self.kind in ("scan", "scann") and dim is not None and dim < _MIN_CODED_DIM:
            message = (
                f"the kind {self.kind!r} codes vectors of at least {_MIN_CODED_DIM} dimensions, "
                f"not {dtype} by {metric} of {dim}; 'flat' is fast there"
            )
            raise Unsupported(message)

    def check_effort(self, effort: Mapping[str, int] | None) -> None:
        """Raise InvalidInput that names an effort the kind does not have, and those it has."""
        knobs = KINDS[self.kind].efforts
        for name in effort or {}:
            if name not in knobs:
                has = ", ".join(map(repr, knobs)) if knobs else "none: every search of it is exact"
                message = f"the kind {self.kind!r} has no effort {name!r}; it has {has}"
                raise InvalidInput(message)


@lru_cache(maxsize=256)
def _stored(kind: object, parameters: tuple[tuple[str, object], ...]) -> IndexChoice:
    """Return a choice that is asked for with every search."""
    return IndexChoice.checked(kind, dict(parameters))


def check_effort(effort: object) -> dict[str, int] | None:
    """Return an explicit effort, such as {"ef": 128}. Raises InvalidInput; whether the kind has it is told later."""
    if effort is None:
        return None
    every = sorted({name for kind in KINDS.values() for name in kind.efforts})
    if not isinstance(effort, Mapping) or not effort:
        message = f"effort is a dict of {', '.join(map(repr, every))}, not {shorten(effort)}"
        raise InvalidInput(message)
    for name, value in effort.items():
        if name not in every:
            message = f"effort takes {', '.join(map(repr, every))}; got {shorten(name)}"
            raise InvalidInput(message)
        _check_number(value, name, 1, _MAX_EFFORT)
    return {name: int(value) for name, value in effort.items()}


def _check_number(value: object, name: object, low: int, high: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not low <= value <= high:  # type: ignore[operator]
        message = f"{name} is a whole number from {low} to {high:,}, not {shorten(value)}"
        raise InvalidInput(message)
