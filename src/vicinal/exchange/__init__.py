"""Into collections and out of them: files of other programs, and exports that come back exactly.

On the public API alone. Readers are lazy: memory holds one batch, shapes are checked before anything is
allocated, nothing is unpickled, and what cannot be read is refused by file and line.
"""

from vicinal.exchange.batch import ONLY, Batch, Source
from vicinal.exchange.columns import Columns
from vicinal.exchange.exporting import export_jsonl, export_parquet, write_jsonl
from vicinal.exchange.load import BATCH_ROWS, Loaded, load_rows
from vicinal.exchange.sources import FORMATS, close_name, open_source
from vicinal.exchange.spec import Spec
from vicinal.exchange.target import Wanted, discarded_if_empty, first_rows, open_target

__all__ = [
    "BATCH_ROWS",
    "FORMATS",
    "ONLY",
    "Batch",
    "Columns",
    "Loaded",
    "Source",
    "Spec",
    "Wanted",
    "close_name",
    "discarded_if_empty",
    "export_jsonl",
    "export_parquet",
    "first_rows",
    "load_rows",
    "open_source",
    "open_target",
    "write_jsonl",
]
