"""What `import vicinal` offers, loaded when one of its names is first used."""

from typing import Final

from vicinal import errors
from vicinal.collection import Collection
from vicinal.database import Database, Transaction, connect
from vicinal.errors import VicinalError
from vicinal.filters import F
from vicinal.report import Explanation, Report
from vicinal.results import BatchHits, Hit, Hits, Row, Rows

_shown = (BatchHits, Collection, Database, Explanation, Hit, Hits, Report, Row, Rows, Transaction, connect)
for _each in _shown:
    _each.__module__ = "vicinal"  # what reprs, tracebacks and documentation show

NAMES: Final[dict[str, object]] = {
    **{each.__name__: each for each in _shown},
    "F": F,
    "VicinalError": VicinalError,
    "errors": errors,
}
