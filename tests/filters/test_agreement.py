"""The law of the room: three spellings, one tree; vectorised and naive evaluation agree."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.filters import Column, Node, evaluate, fields, matches, parse_filter, to_dict, value_at

from . import generation

if TYPE_CHECKING:
    from collections.abc import Sequence

N_TABLES, N_FILTERS = 500, 21


def parsed(spec: generation.Spec) -> Node:
    """Parse all spellings of the filter, check that they are one tree, return it."""
    node = parse_filter(generation.as_expression(spec))
    assert node is not None
    assert parse_filter(generation.as_mapping(spec)) == node
    assert parse_filter(generation.as_sql(spec)) == node
    assert parse_filter(str(node)) == node
    assert parse_filter(json.loads(json.dumps(to_dict(node)))) == node
    return node


def columns(rows: Sequence[dict[str, Any]], *, elide: bool) -> dict[tuple[str, ...], Column]:
    """Return the columns of the rows; without those that no row has, if `elide`."""
    built = {path: Column.from_values([value_at(row, path) for row in rows]) for path in generation.PATHS}
    return {path: column for path, column in built.items() if column.present or not elide}


def test_ten_thousand_tables_and_filters_agree() -> None:
    chance = random.Random(20240501)
    n_pairs = n_true = n_all = 0
    for _ in range(N_TABLES):
        rows = [generation.row(chance.choice) for _ in range(chance.choice([1, 5, 30]))]
        table = columns(rows, elide=chance.random() < 0.5)
        for _ in range(N_FILTERS):
            node = parsed(generation.spec(chance.choice))
            found = evaluate(node, table.get, len(rows))
            assert found.tolist() == [matches(node, row) for row in rows], str(node)
            n_pairs, n_true, n_all = n_pairs + 1, n_true + int(found.sum()), n_all + len(rows)
    assert n_pairs >= 10_000
    assert 0.2 < n_true / n_all < 0.8, "the generated filters decide nothing"


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[dict[str, Any]], generation.Spec]:
    """Draw rows and a filter that shrink well."""

    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    rows = [generation.row(pick) for _ in range(pick([1, 2, 4]))]
    return rows, generation.spec(pick)


@settings(deadline=None, max_examples=150)
@given(cases())
def test_drawn_tables_and_filters_agree(case: tuple[list[dict[str, Any]], generation.Spec]) -> None:
    rows, spec = case
    node = parsed(spec)
    found = evaluate(node, columns(rows, elide=False).get, len(rows))
    assert found.tolist() == [matches(node, row) for row in rows]


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1).map(float),
    st.integers(-300, 300),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(numbers, min_size=1, max_size=8), st.one_of(numbers, st.integers()), st.integers(-2, 2))
def test_any_numbers_compare_exactly(values: list[float], bound: float, step: int) -> None:
    near = [value + step for value in values if isinstance(value, int)]
    column = Column.from_values(values)
    far = [step * 2**31]
    for literal in [bound, *near, *map(float, near), *values]:
        for op in generation.COMPARISONS:
            node = parse_filter(f"a {op} ?", [literal])
            assert node is not None
            expected = [eval_number(value, op, literal) for value in values]
            assert evaluate(node, lambda _: column, len(values)).tolist() == expected
        for operator in ("in", "not in"):
            node = parse_filter(f"a {operator} ?", [[literal, *values[:2], *range(1000, 1020), *far]])
            assert node is not None
            assert evaluate(node, lambda _: column, len(values)).tolist() == [matches(node, {"a": v}) for v in values]


def eval_number(value: float, op: str, literal: float) -> bool:
    """Compare as Python does, which is exact between int and float."""
    return {
        "==": value == literal, "!=": value != literal, "<": value < literal,
        "<=": value <= literal, ">": value > literal, ">=": value >= literal,
    }[op]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.text("ab_%\\ßS", max_size=8), st.text("ab_%\\ßsS", max_size=12), st.booleans())
def test_any_like_pattern_agrees(pattern: str, text: str, ignore_case: bool) -> None:
    pattern += "\\" * ((len(pattern) - len(pattern.rstrip("\\"))) % 2)
    node = parse_filter({"a": {"$ilike" if ignore_case else "$like": pattern}})
    assert node is not None
    found = evaluate(node, lambda _: Column.from_values([text]), 1)
    assert bool(found[0]) == matches(node, {"a": text})


def test_the_result_is_fresh_and_fields_are_found() -> None:
    column = Column.from_values([True, False])
    node = parse_filter("a = true or (not exists(b.c) and a = true)")
    assert node is not None
    assert fields(node) == {("a",), ("b", "c")}
    first = evaluate(node, {("a",): column}.get, 2)
    first[:] = False
    assert evaluate(node, {("a",): column}.get, 2).tolist() == [True, False]
