"""The written meaning, example by example, against both evaluators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vicinal.filters import MISSING, Column, evaluate, matches, parse_filter

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "true_for", "false_for"),
    [
        ("a = 2", [2, 2.0], ["2", True, None, MISSING, [2], {"x": 2}, 3]),
        ("a != 2", ["2", True, None, MISSING, [2], {"x": 2}, 3], [2, 2.0]),
        ("a = 1", [1, 1.0], [True]),
        ("a = true", [True], [1, 1.0, False, "true"]),
        ("a < 3", [2, -1.5], [3, "2", False, None, MISSING]),
        ("a >= false", [False, True], [0, 1, None]),
        ("a = 9007199254740993", [2**53 + 1], [2**53, 2.0**53]),
        ("a < 9007199254740993", [2**53, 2.0**53], [2**53 + 1, 2.0**53 + 2]),
        ("a < 100000000000000000000", [2**63 - 1, -1.0], [1e300, "a"]),
        ("a > 'B'", ["a", "b"], ["A", "B", 3]),
        ("a in (1, 'x')", [1, 1.0, "x"], [True, "1", None, MISSING]),
        ("a not in (1, 'x')", [True, "1", None, MISSING], [1, 1.0, "x"]),
        ("a in ()", [], [1, None, MISSING]),
        ("a not in ()", [1, None, MISSING], []),
        ("a in (1, null)", [1, None, MISSING], [2]),
        ("a not in (1, null)", [2, "x"], [1, None, MISSING]),
        ("a in (null)", [None, MISSING], [2]),
        ("a not in (null)", [2, "x"], [None, MISSING]),
        ("a = null", [None, MISSING], [0, "", False, [], {}]),
        ("a != null", [0, "", False, [], {}], [None, MISSING]),
        ("a is not null", [0, {}], [None, MISSING]),
        ("exists(a)", [None, 0, {}], [MISSING]),
        ("not a < 3", [3, "2", None, MISSING], [2]),
        ("a between 1 and 3", [1, 2.5, 3], [0.99, 3.01, "2", None]),
        ("a between 3 and 1", [], [1, 2, 3]),
        ("a like 'a_c%'", ["abc", "a%cd"], ["ac", "xabc", "ABC", 5]),
        ("a like '100\\%'", ["100%"], ["100 %", "1000"]),
        ("a like '%a\\_b\\\\%'", ["xa_b\\y"], ["xaxb\\y", "a_b"]),
        ("a like '%a%a%'", ["aa", "bacab"], ["a", "bab"]),
        ("a like '%a_%ab%b'", ["axabb", "acabcb"], ["axab", "aabb"]),
        ("a like '%\n%'", ["x\ny"], ["xy"]),
        ("a ilike 'STRASSE'", ["Straße", "strasse"], ["Stra"]),
        ("a regexp 'b+c'", ["abbcd"], ["acd", 3]),
        ("a contains 'x'", [["y", "x"]], ["x", ["xx"], [], None, MISSING, {"x": 1}]),
        ("a contains 1", [[1.0], [1]], [[True], ["1"], 1]),
        ("a contains true", [[True]], [[1], [False], True]),
        ("a contains timestamp '2024-05-01T14:00:00+02:00'", [[NOON]], [["2024-05-01T12:00:00Z"]]),
        ("a contains any ()", [], [[], ["x"], None]),
        ("a contains all ()", [[], ["x"]], ["x", None, MISSING, {}]),
        ("a contains all ('x', 1)", [["x", 2, 1], [1.0, "x"]], [["x"], ["x", True], []]),
        ("a contains all (1,2,3,4,5,6)", [[6, 5, 4, 3, 2, 1, 1]], [[1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 7]]),
        ("a = timestamp '2024-05-01T14:00:00+02:00'", [NOON], ["2024-05-01T12:00:00Z", 1714564800000000]),
        ("a = 1714564800000000", [1714564800000000], [NOON]),
        ("a.b = 1", [{"b": 1}, {"b": 1, "c": 2}], [1, [{"b": 1}], {"b": {"b": 1}}]),
        ('a."b.c" = 1', [{"b.c": 1}], [{"b": {"c": 1}}]),
        ("exists(a.b)", [{"b": None}], [{"c": 1}, None, MISSING]),
    ],
)
def test_the_meaning(text: str, true_for: list[Any], false_for: list[Any]) -> None:
    node = parse_filter(text)
    assert node is not None
    rows = [{} if value is MISSING else {"a": value} for value in (*true_for, *false_for)]
    expected = [True] * len(true_for) + [False] * len(false_for)
    assert [matches(node, row) for row in rows] == expected

    def column_of(path: tuple[str, ...]) -> Column:
        values: list[Any] = [row.get("a", MISSING) for row in rows]
        for key in path[1:]:
            values = [value.get(key, MISSING) if isinstance(value, dict) else MISSING for value in values]
        return Column.from_values(values)

    assert evaluate(node, column_of, len(rows)).tolist() == expected


def test_a_dotted_path_is_not_a_key_with_a_dot() -> None:
    nested, literal = parse_filter({"a.b": 1}), parse_filter({'"a.b"': 1})
    assert nested is not None
    assert literal is not None
    assert [matches(nested, row) for row in ({"a": {"b": 1}}, {"a.b": 1})] == [True, False]
    assert [matches(literal, row) for row in ({"a": {"b": 1}}, {"a.b": 1})] == [False, True]


def test_a_column_of_another_length_is_refused() -> None:
    node = parse_filter("a = 1")
    assert node is not None
    with pytest.raises(ValueError, match="has 2 rows, expected 3"):
        evaluate(node, lambda _: Column.from_values([1, 2]), 3)
