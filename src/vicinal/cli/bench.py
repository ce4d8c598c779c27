"""The bench command: this database and others on the same data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from vicinal.cli.bench_tables import print_numbers
from vicinal.cli.progress import progress_bar
from vicinal.cli.render import print_json, print_table
from vicinal.errors import InvalidInput, NotFound, shorten

if TYPE_CHECKING:
    from vicinal.bench import Dataset, Record

__all__ = ["bench"]

DEFAULT_SHAPE = "10000x128"


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers, separated by commas."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return a tuple of the numbers."""
        if not isinstance(value, str):
            return value
        try:
            return tuple(int(part) for part in value.split(",") if part.strip())
        except ValueError:
            self.fail(f"{shorten(value)} is no list of whole numbers", param, ctx)


class Effort(click.ParamType[tuple[str, tuple[float, ...]]]):
    """Values that replace an engine's own: `faiss-hnsw=64,128`."""

    name = "ENGINE=V,V,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return the name and a tuple of numbers."""
        if not isinstance(value, str):
            return value
        name, _, numbers = value.partition("=")
        try:
            return name, tuple(float(part) for part in numbers.split(","))
        except ValueError:
            self.fail(f"{shorten(value)}: write an engine and numbers, such as vicinal=0.9,0.99", param, ctx)


@click.command(
    epilog="""\b
Examples
  vicinal bench
  vicinal bench --list
  vicinal bench --generate 100000x256 --engines vicinal,faiss --plot curve.svg
  vicinal bench glove-100-angular.hdf5 --engines all --json figures.json
"""
)
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--generate", metavar="ROWSxDIM", help=f"Generate clustered data.  [default: {DEFAULT_SHAPE}]")
@click.option("--intrinsic", default=20, show_default=True, help="Directions in which a generated cluster spreads.")
@click.option("--clusters", default=100, show_default=True, help="How many clusters to generate.")
@click.option("--seed", default=0, show_default=True, help="Of generated data, and of the rows that are held out.")
@click.option("--metric", type=click.Choice(["cosine", "l2", "dot"]), help="Default: what the data are made for.")
@click.option("--rows", type=int, metavar="N", help="Use only the first N vectors of a file.")
@click.option("--queries", default=1000, show_default=True, metavar="N", help="Ask at most N queries of a kind.")
@click.option(
    "--query-file", type=click.Path(path_type=Path, dir_okay=False),
    help="Ask the vectors of this file instead of held-out rows.",
)  # fmt: skip
@click.option("--column", metavar="NAME", help="Of a Parquet file with several columns of vectors.")
@click.option("--engines", metavar="NAME,…", help="What to measure, or all.  [default: vicinal,numpy]")
@click.option("--list", "list_engines", is_flag=True, help="Show the engines, and how to install those that are not.")
@click.option(
    "--effort", "efforts", multiple=True, type=Effort(),
    help="Try these values of an engine's own parameter: recall targets, ef, or re-ranking. Repeatable.",
)  # fmt: skip
@click.option("-k", default=10, show_default=True, help="How many nearest rows to find.")
@click.option("--threads", type=int, metavar="N", help="Cores per engine, and clients at once.  [default: all]")
@click.option(
    "--batches", default="1,100,1000,10000", show_default=True, type=Numbers(),
    help="Rows per call whose insert throughput is measured.",
)  # fmt: skip
@click.option("--seconds", default=3.0, show_default=True, help="Limit of each single measurement.")
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds after which an engine is stopped.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the temporary folder goes: the disk to measure.",
)  # fmt: skip
@click.option(
    "--json", "json_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write the figures as JSON; - for stdout, without tables.",
)  # fmt: skip
@click.option(
    "--plot", "plot_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Draw recall against latency, and insert throughput: .svg, .png or .pdf.",
)  # fmt: skip
def bench(*, list_engines: bool, json_file: Path | None, plot_file: Path | None, **options: Any) -> None:  # noqa: ANN401
    """Measure this database and others, on DATA or on generated vectors.

    Recall, latency, throughput, memory and disk. DATA is a .npy, .hdf5 (as ann-benchmarks lays it out), .fvecs,
    .bvecs or .parquet file, a folder of idx files, or fashion-mnist. Queries are never inserted; recall is counted
    against exact distances. Each engine runs in a process of its own, in a temporary folder.
    """
    from vicinal import bench as suite  # noqa: PLC0415 - --help needs none of it

    if list_engines:
        _list_engines(as_json=str(json_file) == "-")
        return
    engines = suite.chosen(_names(options["engines"]))
    plan = suite.Plan(
        k=options["k"],
        batch_sizes=options["batches"],
        seconds=options["seconds"],
        timeout=options["timeout"],
        efforts=dict(options["efforts"]),
        **({} if options["threads"] is None else {"threads": options["threads"]}),
    )
    _check_targets(json_file, plot_file)

    def keep(record: Record) -> None:
        if json_file is not None and str(json_file) != "-":
            record.write(json_file)

    with progress_bar("measuring") as advance:
        advance(0.0, "data")
        dataset = _dataset(options)
        record = suite.run(dataset, engines, plan, folder=options["folder"], progress=advance, measured=keep)
        if plot_file is not None:
            suite.draw(record, plot_file)
    if str(json_file) == "-":
        print_json(record.to_dict())
    else:
        _show(record)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _check_targets(json_file: Path | None, plot_file: Path | None) -> None:
    """Refuse files that could not be written, before hours of measuring."""
    from vicinal.bench import check_plot  # noqa: PLC0415

    if json_file is not None and str(json_file) != "-" and not json_file.parent.is_dir():
        message = f"no folder {str(json_file.parent)!r}"
        raise NotFound(message)
    if plot_file is not None:
        check_plot(plot_file)


def _dataset(options: dict[str, Any]) -> Dataset:
    """Return the data of a file, or generate them."""
    from vicinal.bench import Recipe, generated, read_dataset  # noqa: PLC0415
    from vicinal.bench.dataset import Metric  # noqa: PLC0415
    from vicinal.bench.loading import Reading  # noqa: PLC0415

    path, shape, metric = options["data"], options["generate"], options["metric"]
    if path is not None and shape is not None:
        message = "give DATA or --generate, not both"
        raise click.UsageError(message)
    if path is not None:
        names = ("rows", "queries", "query_file", "column", "metric", "seed")
        return read_dataset(path, Reading(**{name: options[name] for name in names}))
    for name in ("rows", "query_file", "column"):
        if options[name] is not None:
            message = f"--{name.replace('_', '-')} goes with DATA, a file"
            raise click.UsageError(message)
    if metric is not None and metric not in get_args(Metric):
        message = f"no metric {metric!r}"
        raise InvalidInput(message)
    others = {name: options[name] for name in ("intrinsic", "clusters", "queries", "seed")}
    return generated(Recipe.parse(shape or DEFAULT_SHAPE, **others, **({} if metric is None else {"metric": metric})))


def _list_engines(*, as_json: bool) -> None:
    from vicinal.bench import entries  # noqa: PLC0415

    names = ["engine", "version", "what", "install"]
    rows = [
        [each.name, (each.version or "") if each.installed else "", each.what, "" if each.installed else each.install]
        for each in entries()
    ]
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(names, rows, flexible=("what", "install"))


def _show(record: Record) -> None:
    from vicinal.bench.tables import insert_table, load_table, search_table  # noqa: PLC0415

    about, plan = record.dataset, record.plan
    title = f"{about['name']}, {about['metric']}, k={plan['k']}, {plan['threads']} threads"
    print_numbers(title, [("Search", search_table(record)), ("Load", load_table(record)),
                          ("Insert, rows/s", insert_table(record))])  # fmt: skip
    for note in record.notes:
        click.echo(f"note: {note}", file=sys.stderr)
