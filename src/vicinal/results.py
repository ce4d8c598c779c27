"""What comes back: columnar inside, a sequence of frozen rows outside."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import numpy as np

from vicinal.errors import MissingExtra

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from vicinal.values import Id

Metadata = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stored row. What was not asked for with `include=` is None."""

    id: Id
    document: str | None = None
    metadata: Metadata | None = None
    vectors: dict[str, NDArray[np.generic]] | None = None
    expires: datetime | None = None

    @property
    def vector(self) -> NDArray[np.generic] | None:
        """The vector of a row that has exactly one, else None."""
        return next(iter(self.vectors.values())) if self.vectors and len(self.vectors) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit(Row):
    """One answer of a search: higher `score` is better, smaller `distance` is nearer."""

    score: float
    distance: float


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Table(Sequence[R], Generic[R]):
    """Columns of equal length, read as a sequence of rows."""

    ids: list[Id]
    documents: list[str | None] | None = None
    metadata: list[Metadata] | None = None
    vectors: list[dict[str, NDArray[np.generic]]] | None = None
    expires: list[datetime | None] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> R: ...
    @overload
    def __getitem__(self, at: slice) -> list[R]: ...
    def __getitem__(self, at: int | slice) -> R | list[R]:
        if isinstance(at, slice):
            return [self._row(position) for position in range(*at.indices(len(self)))]
        if not hasattr(at, "__index__"):
            message = f"rows are indexed by whole numbers from 0, not {type(at).__name__}"
            raise TypeError(message)
        position = at + len(self) if at < 0 else at
        if not 0 <= position < len(self):
            message = f"index {at} of {len(self)} rows"
            raise IndexError(message)
        return self._row(position)

    def _row(self, at: int) -> R:
        raise NotImplementedError

    def _shared(self, at: int) -> dict[str, object]:
        return {
            "id": self.ids[at],
            "document": self.documents[at] if self.documents is not None else None,
            "metadata": self.metadata[at] if self.metadata is not None else None,
            "vectors": self.vectors[at] if self.vectors is not None else None,
            "expires": self.expires[at] if self.expires is not None else None,
        }

    def to_dicts(self) -> list[dict[str, object]]:
        """Return one dict per row, without the columns that were not asked for."""
        columns = self._columns()
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _columns(self) -> dict[str, Sequence[object]]:
        columns: dict[str, Sequence[object]] = {"id": self.ids}
        if self.documents is not None:
            columns["document"] = self.documents
        if self.metadata is not None:
            columns["metadata"] = self.metadata
        if self.expires is not None:
            columns["expires"] = self.expires
        if self.vectors is not None:
            names = sorted({name for row in self.vectors for name in row})
            for name in names:
                label = "vector" if len(names) == 1 else f"vector_{name}"
                columns[label] = [row.get(name) for row in self.vectors]
        return columns

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas DataFrame. Raises MissingExtra without pandas."""
        try:
            import pandas as pd  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise MissingExtra.of("to_pandas()", "frames") from None
        return pd.DataFrame({name: list(values) for name, values in self._columns().items()})

    def to_arrow(self) -> pa.Table:
        """Return a pyarrow Table. Raises MissingExtra without pyarrow.

        Metadata becomes a struct, or JSON text where the rows' values have no common type.
        """
        try:
            import pyarrow as pa  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise MissingExtra.of("to_arrow()", "frames") from None
        columns = {
            name: [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
            for name, values in self._columns().items()
        }
        try:
            return pa.table(columns)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # rows of different shapes have no common type
            columns["metadata"] = [json.dumps(row, default=str, ensure_ascii=False) for row in self.metadata or ()]
            return pa.table(columns)

    def _lines(self) -> tuple[list[str], list[list[str]]]:
        columns = {name: values for name, values in self._columns().items() if not name.startswith("vector")}
        rows = [[_cell(value) for value in values] for values in zip(*columns.values(), strict=True)]
        return list(columns), rows

    def __repr__(self) -> str:
        if not len(self):
            return f"{type(self).__name__}: no rows"
        names, rows = self._lines()
        shown = rows[:20]
        widths = [max(len(line[at]) for line in (names, *shown)) for at in range(len(names))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in (names, *shown)
        ]
        if len(rows) > len(shown):
            lines.append(f"… {len(rows) - len(shown)} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        names, rows = self._lines()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in rows[:100]
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object, limit: int = 60) -> str:
    text = f"{value:.4f}" if isinstance(value, (float, np.floating)) else "" if value is None else str(value)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rows(_Table[Row]):
    """Rows of `get`, in the order asked for."""

    def _row(self, at: int) -> Row:
        return Row(**self._shared(at))  # type: ignore[arg-type]


def _no_floats() -> NDArray[np.float32]:
    return np.empty(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Hits(_Table[Hit]):
    """Answers of one search, best first.

    `scores` (higher is better) and `distances` (smaller is nearer) are float32 arrays of shape (n,).
    """

    scores: NDArray[np.float32] = field(default_factory=_no_floats)
    distances: NDArray[np.float32] = field(default_factory=_no_floats)

    def without(self, identity: Id, k: int) -> Hits:
        """Return the first k hits that are not the row of that id."""
        keep = [at for at, each in enumerate(self.ids) if each != identity][:k]
        columns = {name: getattr(self, name) for name in ("ids", "documents", "metadata", "vectors", "expires")}
        kept = {name: None if column is None else [column[at] for at in keep] for name, column in columns.items()}
        return Hits(**kept, scores=self.scores[keep], distances=self.distances[keep])  # type: ignore[arg-type]

    def _row(self, at: int) -> Hit:
        return Hit(score=float(self.scores[at]), distance=float(self.distances[at]), **self._shared(at))  # type: ignore[arg-type]

    def _columns(self) -> dict[str, Sequence[object]]:
        columns = super(Hits, self)._columns()
        scored = {"id": columns.pop("id"), "score": self.scores.tolist(), "distance": self.distances.tolist()}
        return {**scored, **columns}


@dataclass(frozen=True, slots=True)
class BatchHits:
    """Answers of a batch as arrays of shape (n, k).

    Where fewer than k rows pass, ids are padded with -1 (int) or None (str), distances with infinity.
    """

    ids: NDArray[np.int64] | NDArray[np.object_]
    distances: NDArray[np.float32]
    scores: NDArray[np.float32]
