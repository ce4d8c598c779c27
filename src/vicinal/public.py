"""The public names, gathered; `import vicinal` loads them when one is first used."""

from vicinal import errors
from vicinal.collection import Collection
from vicinal.database import Database, Transaction, connect
from vicinal.errors import VicinalError
from vicinal.filters import F
from vicinal.report import Explanation, Report
from vicinal.results import BatchHits, Hit, Hits, Row, Rows

__all__ = [
    "BatchHits",
    "Collection",
    "Database",
    "Explanation",
    "F",
    "Hit",
    "Hits",
    "Report",
    "Row",
    "Rows",
    "Transaction",
    "VicinalError",
    "connect",
    "errors",
]

for _public in (BatchHits, Collection, Database, Explanation, Hit, Hits, Report, Row, Rows, Transaction, connect):
    _public.__module__ = "vicinal"  # what reprs, tracebacks and documentation show
