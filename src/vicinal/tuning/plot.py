"""A picture of recall against latency, one line per kind; matplotlib is in the extra `bench`."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any, Final

from vicinal.errors import InvalidInput, MissingExtra, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from vicinal.tuning.trials import Tuning

_SUFFIXES: Final = (".svg", ".png", ".pdf")
# Colours that people with colour-blindness tell apart, and markers for when they do not.
_COLOURS: Final = ("#000000", "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7")
_MARKERS: Final = "*os^vDP"
_TICKS: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_LEAST_MISSED: Final = 3e-4


def check_plot(path: Path) -> None:
    """Raise what `draw` would, before the minute of measuring: InvalidInput, NotFound or MissingExtra."""
    if path.suffix.lower() not in _SUFFIXES:
        message = f"cannot draw {path.name!r}: the name ends in {', '.join(_SUFFIXES)}"
        raise InvalidInput(message)
    if not path.parent.is_dir():
        message = f"no folder {str(path.parent)!r}"
        raise NotFound(message)
    _matplotlib("figure")


def draw(tuning: Tuning, path: Path) -> None:
    """Write the picture to a .svg, .png or .pdf file. Raises as `check_plot`."""
    check_plot(path)
    figure = _matplotlib("figure").Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    for at, trial in enumerate(tuning.trials):
        if trial.points:
            axes.plot(
                [_place(point.recall) for point in trial.points],
                [point.p50_ms for point in trial.points],
                color=_COLOURS[at % len(_COLOURS)],
                marker=_MARKERS[at % len(_MARKERS)],
                label=trial.name,
            )
    lowest = min((point.recall for trial in tuning.trials for point in trial.points), default=0.9)
    shown = [tick for tick in _TICKS if tick >= min(lowest, 0.9)]
    axes.set_xticks([_place(tick) for tick in shown], [f"{tick:g}" for tick in shown])
    axes.axvline(_place(tuning.recall), color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yscale("log")
    tickers = _matplotlib("ticker")
    axes.yaxis.set_major_locator(tickers.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(tickers.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(tickers.NullFormatter())
    axes.set_xlabel(f"recall@{tuning.k}")
    axes.set_ylabel("latency of one search, p50, ms")
    axes.set_title(f"{tuning.collection}, {tuning.sample:,} of {tuning.rows:,} rows (right and low is better)")
    axes.grid(visible=True, alpha=0.3, linewidth=0.5)
    axes.legend(fontsize=8)
    date = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix.lower())
    figure.savefig(path, dpi=150, metadata={date: None} if date else None)


def _place(found: float) -> float:
    """Return where a recall stands on the axis: by the logarithm of what is missed, 1 at the right end."""
    return -math.log10(max(1 - found, _LEAST_MISSED))


def _matplotlib(part: str) -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module(f"matplotlib.{part}")
    except ImportError:
        message = 'plots need matplotlib: pip install "vicinal[bench]"'
        raise MissingExtra(message) from None
