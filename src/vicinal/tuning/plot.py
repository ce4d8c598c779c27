"""A picture of recall against latency, one line per kind; matplotlib is in the extra `bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicinal.plotting import check_plot, label_axes, matplotlib, place_of, save, styles_of

if TYPE_CHECKING:
    from pathlib import Path

    from vicinal.tuning.trials import Tuning

__all__ = ["check_plot", "draw"]


def draw(tuning: Tuning, path: Path) -> None:
    """Write the picture to a .svg, .png or .pdf file. Raises as `check_plot`."""
    check_plot(path)
    figure = matplotlib("figure").Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    styles = styles_of([trial.name for trial in tuning.trials])
    for trial in tuning.trials:
        if trial.points:
            colour, marker = styles[trial.name]
            places = [place_of(point.recall) for point in trial.points]
            latencies = [point.p50_ms for point in trial.points]
            axes.plot(places, latencies, color=colour, marker=marker, label=trial.name)
    lowest = min((point.recall for trial in tuning.trials for point in trial.points), default=0.9)
    label_axes(axes, lowest, tuning.k)
    axes.axvline(place_of(tuning.recall), color="#999999", linewidth=0.8, linestyle=":")
    axes.set_title(f"{tuning.collection}, {tuning.sample:,} of {tuning.rows:,} rows (right and low is better)")
    axes.legend(fontsize=8)
    save(figure, path)
