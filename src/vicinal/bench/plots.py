"""Two pictures of a record: recall against latency, and insert throughput against the size of batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from vicinal.bench.optional import BENCH_EXTRA, optional
from vicinal.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from vicinal.bench.record import Record

__all__ = ["check_plot", "draw"]

SUFFIXES = (".svg", ".png", ".pdf")
# Colours that people with colour-blindness tell apart, and markers for when they do not.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7A5195",
    "#8C6D31", "#999999", "#B2182B", "#1B7837", "#F781BF",
)  # fmt: skip
_MARKERS = "osD^vP*X"
_RECALL_TICKS = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_LEAST_MISSED = 3e-4


def check_plot(path: Path) -> None:
    """Raise what `draw` would, before hours of measuring: InvalidInput, NotFound or MissingExtra."""
    if path.suffix.lower() not in SUFFIXES:
        message = f"cannot draw {path.name!r}: the name ends in {', '.join(SUFFIXES)}"
        raise InvalidInput(message)
    if not path.parent.is_dir():
        message = f"no folder {str(path.parent)!r}"
        raise NotFound(message)
    optional("matplotlib", "plots", BENCH_EXTRA)


def draw(record: Record, path: Path) -> None:
    """Write the pictures side by side to a .svg, .png or .pdf file. Raises as `check_plot`."""
    check_plot(path)
    matplotlib = optional("matplotlib", "plots", BENCH_EXTRA)
    figures = optional("matplotlib.figure", "plots", BENCH_EXTRA)
    tickers = optional("matplotlib.ticker", "plots", BENCH_EXTRA)
    styles = _styles(record)
    # The same record gives the same file: no random ids, no date.
    with matplotlib.rc_context({"svg.hashsalt": "vicinal", "font.size": 9}):
        figure = figures.Figure(figsize=(11.5, 5.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_recall(left, record, styles, tickers)
        _draw_inserts(right, record, styles)
        handles = [left.plot([], [], color=colour, marker=marker)[0] for colour, marker in styles.values()]
        if handles:
            figure.legend(handles, list(styles), loc="outside lower center", ncols=8, fontsize=8, frameon=False)
        figure.suptitle(_title(record), fontsize=10)
        date = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix.lower())
        figure.savefig(path, dpi=150, metadata={date: None} if date else None)


def _styles(record: Record) -> dict[str, tuple[str, str]]:
    """Return colour and marker by engine: each pair once, as the numbers of both share no factor."""
    names = enumerate(engine.name for engine in record.engines)
    return {name: (_COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)]) for at, name in names}


def _title(record: Record) -> str:
    about, plan = record.dataset, record.plan
    return f"{about['name']}, {about['metric']}, k={plan['k']}, {plan['threads']} threads"


def _draw_recall(axes: Any, record: Record, styles: dict[str, tuple[str, str]], tickers: ModuleType) -> None:  # noqa: ANN401 - of matplotlib
    """Draw latency against recall, both logarithmic: recall by the share that is missed.

    Right is better found, lower is faster. One line per set of queries, the first filled.
    """
    names = [each["name"] for each in record.dataset["queries"]]  # type: ignore[attr-defined]
    lowest = 0.9
    for engine in record.engines:
        colour, marker = styles[engine.name]
        for queries in dict.fromkeys(each.queries for each in engine.searches):
            points = sorted((each.recall, each.p50_ms) for each in engine.searches if each.queries == queries)
            lowest = min(lowest, points[0][0])
            main = queries == names[0]
            axes.plot(
                [_place(found) for found, _ in points],
                [latency for _, latency in points],
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=1.4 if main else 1.0,
                linestyle="-" if main else ":",
                markerfacecolor=colour if main else "white",
            )
    shown = [found for found in _RECALL_TICKS if found >= lowest or found >= 0.9]
    axes.set_xticks([_place(found) for found in shown], [f"{found:g}" for found in shown])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(tickers.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(tickers.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(tickers.NullFormatter())
    axes.set_xlabel(f"recall@{record.plan['k']}")
    axes.set_ylabel("latency of one query, p50, ms")
    others = f"; dotted, open: {', '.join(names[1:])}" if names[1:] else ""
    axes.set_title(f"Recall against latency (right and low is better{others})", fontsize=9)
    axes.grid(visible=True, which="major", alpha=0.3, linewidth=0.5)


def _place(found: float) -> float:
    """Return where a recall stands on the axis: by the logarithm of what is missed, 1 at the right end."""
    return -math.log10(max(1 - found, _LEAST_MISSED))


def _draw_inserts(axes: Any, record: Record, styles: dict[str, tuple[str, str]]) -> None:  # noqa: ANN401
    """Draw rows per second against rows per call, both logarithmic; dashed where rows stay in memory."""
    sizes: set[int] = set()
    for engine in record.engines:
        if engine.inserts:
            colour, marker = styles[engine.name]
            sizes |= {each.batch_size for each in engine.inserts}
            axes.plot(
                [each.batch_size for each in engine.inserts],
                [each.rows_per_s for each in engine.inserts],
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=1.4,
                linestyle="--" if engine.durability == "memory" else "-",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted(sizes), [f"{size:,}" for size in sorted(sizes)])
    axes.minorticks_off()
    axes.set_xlabel("rows per call")
    axes.set_ylabel("rows per second")
    axes.set_title("Insert throughput (high is better; dashed: rows stay in memory)", fontsize=9)
    axes.grid(visible=True, which="major", alpha=0.3, linewidth=0.5)
