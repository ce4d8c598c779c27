"""The tune command: which kind of index suits a collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vicinal.cli.opening import chosen_collection, collection_option, database_argument, json_option, open_existing
from vicinal.cli.progress import progress_bar
from vicinal.cli.render import human_bytes, print_json, print_table

if TYPE_CHECKING:
    from vicinal.tuning import Advice, Tuning

__all__ = ["tune"]

_SAMPLE = 50_000


@click.command(
    epilog="""\b
Examples
  vicinal tune app.db
  vicinal tune app.db -c docs --recall 0.99 --plot curve.svg
  vicinal tune app.db --sample 20000 --apply
"""
)
@database_argument
@collection_option
@click.option("--using", metavar="FIELD", help="The vector field, where there are several.")
@click.option("--sample", default=_SAMPLE, show_default=True, type=click.IntRange(min=100), help="Rows to measure on.")
@click.option(
    "--recall", default=0.95, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the true nearest rows that searches shall find.",
)  # fmt: skip
@click.option("--apply", is_flag=True, help="Choose what is advised, and build it.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw recall against latency.")
@json_option
def tune(  # noqa: PLR0913 - one parameter per option
    *,
    database: Path,
    name: str | None,
    using: str | None,
    sample: int,
    recall: float,
    apply: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure the kinds of index on a sample of DATABASE's own vectors, and advise one of them."""
    from vicinal import tuning  # noqa: PLC0415 - --help needs none of it

    if plot is not None:
        tuning.check_plot(plot)
    with open_existing(database, read_only=not apply) as db:
        collection = chosen_collection(db, name)
        with progress_bar("tuning") as advance:
            measured = tuning.tune(collection, using=using, sample=sample, recall=recall, progress=advance)
        advice = tuning.advise(measured)
        if plot is not None:
            tuning.draw(measured, plot)
        if not as_json:
            _print(measured, advice)
        applied = None
        if apply:
            with progress_bar(f"building {advice.kind}") as advance:
                applied = collection.index(
                    advice.kind,
                    using=measured.field,
                    progress=lambda done, total: advance(done / max(1, total), f"{done:,} of {total:,} rows"),
                    **advice.parameters,
                )
    if as_json:
        chosen = {"kind": advice.kind, "parameters": advice.parameters, "text": advice.text}
        print_json(
            {**measured.to_dict(), "advice": {**chosen, "extrapolated": advice.extrapolated}, "applied": applied}
        )
    elif applied is not None:
        click.echo(f"applied: {applied['kind']}, {applied['seconds']} s")


def _print(measured: Tuning, advice: Advice) -> None:
    names = ("kind", "recall", "p50 ms", "memory", "build s")
    total = f"p50 ms at {measured.rows:,} rows, extrapolated"
    rows = []
    for trial in measured.trials:
        found = next((each for each in advice.forecasts if each.trial is trial), None)
        point = trial.at(measured.recall) or (trial.points[-1] if trial.points else None)
        if found is None or point is None:
            rows.append((trial.name, trial.refused, "", "", "", ""))
            continue
        figures = (
            f"{point.recall:.4f}",
            f"{point.p50_ms:.3f}",
            human_bytes(trial.memory_bytes),
            f"{trial.build_seconds:.1f}",
        )
        rows.append((trial.name, *figures, f"{found.p50_ms:.2f}"))
    columns = (*names, total) if advice.extrapolated else names
    print_table(columns, [row[: len(columns)] for row in rows], flexible=("recall",))
    click.echo(f"measured on {measured.sample:,} of {measured.rows:,} rows with {measured.queries} others as queries")
    click.echo(f"advice: {advice.text}")
