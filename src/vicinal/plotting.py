"""What pictures of recall against latency share; matplotlib is in the extra `bench`."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any, Final

from vicinal.errors import InvalidInput, MissingExtra, NotFound

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

SUFFIXES: Final = (".svg", ".png", ".pdf")
# Colours that people with colour-blindness tell apart, and markers for when they do not.
COLOURS: Final = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7A5195",
    "#8C6D31", "#999999", "#B2182B", "#1B7837", "#F781BF",
)  # fmt: skip
MARKERS: Final = "osD^vP*X"
_RECALL_TICKS: Final = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_LEAST_MISSED: Final = 3e-4


def check_plot(path: Path) -> None:
    """Raise before long measuring what drawing would: InvalidInput, NotFound or MissingExtra."""
    if path.suffix.lower() not in SUFFIXES:
        message = f"cannot draw {path.name!r}: the name ends in {', '.join(SUFFIXES)}"
        raise InvalidInput(message)
    if not path.parent.is_dir():
        message = f"no folder {str(path.parent)!r}"
        raise NotFound(message)
    matplotlib("figure")


def matplotlib(part: str) -> ModuleType:
    """Return a module of matplotlib. Raises MissingExtra."""
    try:
        return importlib.import_module(f"matplotlib.{part}")
    except ImportError:
        message = 'plots need matplotlib: pip install "vicinal[bench]"'
        raise MissingExtra(message) from None


def styles_of(names: list[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker by name: each pair once, as the numbers of both share no factor."""
    return {name: (COLOURS[at % len(COLOURS)], MARKERS[at % len(MARKERS)]) for at, name in enumerate(names)}


def place_of(recall: float) -> float:
    """Return where a recall stands on its axis: by the logarithm of what is missed, 1 at the right end."""
    return -math.log10(max(1 - recall, _LEAST_MISSED))


def label_axes(axes: Any, lowest: float, k: int) -> None:  # noqa: ANN401 - of matplotlib
    """Make axes of recall (from `lowest`, or .9) and of milliseconds, both logarithmic: right and low is better."""
    tickers = matplotlib("ticker")
    shown = [recall for recall in _RECALL_TICKS if recall >= min(lowest, 0.9)]
    axes.set_xticks([place_of(recall) for recall in shown], [f"{recall:g}" for recall in shown])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(tickers.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(tickers.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(tickers.NullFormatter())
    axes.set_xlabel(f"recall@{k}")
    axes.set_ylabel("latency of one query, p50, ms")
    axes.grid(visible=True, which="major", alpha=0.3, linewidth=0.5)


def save(figure: Any, path: Path) -> None:  # noqa: ANN401 - of matplotlib
    """Write a figure without its date: the same figures give the same file."""
    date = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix.lower())
    figure.savefig(path, dpi=150, metadata={date: None} if date else None)
