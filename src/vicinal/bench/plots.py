"""Two pictures of a record: recall against latency, and insert throughput against the size of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vicinal.plotting import check_plot, label_axes, matplotlib, place_of, save, styles_of

if TYPE_CHECKING:
    from pathlib import Path

    from vicinal.bench.record import Record

__all__ = ["check_plot", "draw"]


def draw(record: Record, path: Path) -> None:
    """Write the pictures side by side to a .svg, .png or .pdf file. Raises as `check_plot`."""
    check_plot(path)
    styles = styles_of([engine.name for engine in record.engines])
    # The same record gives the same file: no random ids.
    with matplotlib("style").context({"svg.hashsalt": "vicinal", "font.size": 9}):
        figure = matplotlib("figure").Figure(figsize=(11.5, 5.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_recall(left, record, styles)
        _draw_inserts(right, record, styles)
        handles = [left.plot([], [], color=colour, marker=marker)[0] for colour, marker in styles.values()]
        if handles:
            figure.legend(handles, list(styles), loc="outside lower center", ncols=8, fontsize=8, frameon=False)
        figure.suptitle(_title(record), fontsize=10)
        save(figure, path)


def _title(record: Record) -> str:
    about, plan = record.dataset, record.plan
    return f"{about['name']}, {about['metric']}, k={plan['k']}, {plan['threads']} threads"


def _draw_recall(axes: Any, record: Record, styles: dict[str, tuple[str, str]]) -> None:  # noqa: ANN401 - of matplotlib
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
                [place_of(found) for found, _ in points],
                [latency for _, latency in points],
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=1.4 if main else 1.0,
                linestyle="-" if main else ":",
                markerfacecolor=colour if main else "white",
            )
    label_axes(axes, lowest, int(str(record.plan["k"])))
    others = f"; dotted, open: {', '.join(names[1:])}" if names[1:] else ""
    axes.set_title(f"Recall against latency (right and low is better{others})", fontsize=9)


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
