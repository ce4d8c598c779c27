"""What `explain` and `verify` report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a search was answered.

    rejected: other plans, and the milliseconds expected of them. rows: live rows of the field.
    passing: those that match the filter and have not expired. candidates: rows whose exact distance was
    computed. recall: measured for such searches of this collection, 1.0 where the answer is exact, None
    where nothing was measured yet. notes: what else the search met. unknown_fields: fields of the filter
    that no row has. stages_ms: time per stage.
    """

    plan: str
    rows: int
    passing: int
    candidates: int
    returned: int
    recall: float | None
    rejected: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    where: str | None = None
    unknown_fields: tuple[str, ...] = ()
    streamed: bool = False
    stages_ms: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return the explanation as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"plan        {self.plan}" + (" (vectors streamed from the file)" if self.streamed else ""),
            f"rows        {self.rows:,}",
        ]
        if self.where is not None:
            lines.append(f"filter      {self.where}")
        share = f" ({self.passing / self.rows:.2%})" if self.rows else ""
        lines.append(f"passing     {self.passing:,}{share}")
        lines += [f"warning     no row has the field {name!r}" for name in self.unknown_fields]
        lines += [f"note        {note}" for note in self.notes]
        if self.rejected:
            others = ", ".join(f"{name} {expected:.2f} ms" for name, expected in self.rejected.items())
            lines.append(f"rejected    {others}")
        lines += [
            f"candidates  {self.candidates:,}",
            f"returned    {self.returned:,}",
            "recall      " + ("not measured yet" if self.recall is None else f"{self.recall:.3f}"),
        ]
        total = sum(self.stages_ms.values())
        stages = ", ".join(f"{name} {spent:.2f}" for name, spent in self.stages_ms.items())
        lines.append(f"time        {total:.2f} ms ({stages})")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """The share of the `k` nearest that searches found which asked for `asked`: mean of `queries`.

    low, high: its 95 % interval (bootstrap over the queries). unreachable: rows that no walk through the graph
    comes to, None where searches use no graph.
    """

    recall: float
    low: float
    high: float
    asked: float
    k: int
    queries: int
    unreachable: int | None = None

    def __str__(self) -> str:
        graph = "" if self.unreachable is None else f", {self.unreachable:,} rows unreachable"
        return (
            f"recall@{self.k} {self.recall:.4f} (95 % interval {self.low:.4f} to {self.high:.4f}), "
            f"asked {self.asked:g}, {self.queries} queries{graph}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `verify` found. `checked` counts what was looked at."""

    problems: tuple[str, ...]
    repaired: tuple[str, ...]
    checked: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return not self.problems
