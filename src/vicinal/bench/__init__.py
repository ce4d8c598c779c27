"""The benchmark suite: the same data through vicinal and through other engines, measured alike.

`run` measures what a `Plan` asks for on a `Dataset` and returns a `Record`. Each engine runs in a process
of its own, so that memory, threads and imports do not mix, and hands back only ids and times: recall is
counted by the parent, against distances that NumPy computes in float64.
"""

from vicinal.bench.dataset import Dataset, QuerySet
from vicinal.bench.engines import chosen, entries
from vicinal.bench.generate import Recipe, generated
from vicinal.bench.loading import read_dataset
from vicinal.bench.plan import Plan
from vicinal.bench.plots import check_plot, draw
from vicinal.bench.record import Record
from vicinal.bench.running import run

__all__ = [
    "Dataset",
    "Plan",
    "QuerySet",
    "Recipe",
    "Record",
    "check_plot",
    "chosen",
    "draw",
    "entries",
    "generated",
    "read_dataset",
    "run",
]
