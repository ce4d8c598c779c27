"""vicinal: a vector database in one SQLite file.

>>> import vicinal
>>> db = vicinal.connect(":memory:")
>>> docs = db.collection("docs", dim=2, metric="l2")
>>> docs.add(ids=["a", "b"], vectors=[[0, 0], [3, 4]], metadata=[{"year": 2024}, {"year": 2025}])
['a', 'b']
>>> docs.search([0, 0], where=vicinal.F("year") > 2024).ids
['b']
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


if not TYPE_CHECKING:  # type checkers shall find misspelt names

    def __getattr__(name: str) -> object:
        """Load the library when a public name is first used: a program that may not need it starts at once."""
        if name not in __all__:
            message = f"module 'vicinal' has no attribute {name!r}"
            raise AttributeError(message)
        from vicinal import public  # noqa: PLC0415

        globals().update(public.NAMES)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
