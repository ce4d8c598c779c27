"""vicinal: a vector database in one SQLite file.

>>> import vicinal
>>> db = vicinal.connect(":memory:")
>>> docs = db.collection("docs", dim=2, metric="l2")
>>> docs.add(ids=["a", "b"], vectors=[[0, 0], [3, 4]], metadata=[{"year": 2024}, {"year": 2025}])
['a', 'b']
>>> docs.search([0, 0], where=vicinal.F("year") > 2024).ids
['b']
"""

from vicinal import errors
from vicinal.collection import Collection
from vicinal.database import Database, Transaction, connect
from vicinal.errors import VicinalError
from vicinal.filters import F
from vicinal.report import Explanation, Report
from vicinal.results import BatchHits, Hit, Hits, Row, Rows

__version__ = "0.1.0"

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
    "__version__",
    "connect",
    "errors",
]

for _public in (BatchHits, Collection, Database, Explanation, Hit, Hits, Report, Row, Rows, Transaction, connect):
    _public.__module__ = "vicinal"  # what reprs, tracebacks and documentation show
