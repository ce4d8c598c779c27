"""Wrong filters fail as InvalidFilter, and the message helps; right ones survive odd spelling."""

from __future__ import annotations

import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.errors import InvalidFilter, MissingExtra
from vicinal.filters import Column, F, evaluate, matches, parse_filter, to_dict
from vicinal.filters.ast import Exists

if TYPE_CHECKING:
    from collections.abc import Callable

NAIVE = datetime(2024, 5, 1)  # noqa: DTZ001 - refused for this


@pytest.mark.parametrize(
    ("text", "hint", "column"),
    [
        ("", "pass None for no filter", None),
        ("year", "expected an operator", 4),
        ("year ~ 3", "write and, or, not", 5),
        ("year foo 3", "expected an operator", 5),
        ("year = ", "expected a value, found the end of the filter", 7),
        ("year = foo", "text is in single quotes", 7),
        ('year = "foo"', "text is in single quotes", 7),
        ("year = 'foo", "no closing quote", 7),
        ('"year = 3', "no closing quote", 0),
        ("year = 1 & b = 2", "write and, or, not", 9),
        ("year = 1 b = 2", "`and`, `or` or the end", 9),
        ("(year = 1", "closing parenthesis", 9),
        ("year = 1)", "the end of the filter, found ')'", 8),
        ("year = 1 and", "expected a field name, found the end", 12),
        ("in = 1", 'a field of that name is quoted: "in"', 0),
        ("a # 2", "unexpected character '#'", 2),
        ("a.1b = 2", "cannot begin with a digit", 3),
        ("2d = 1", "cannot begin with a digit", 1),
        ("a in 1", "a list of values in parentheses", 5),
        ("a in (1 2)", "a comma or a closing parenthesis", 8),
        ("a in (1,", "expected a value", 8),
        ("a between 1, 2", "`and` between the two values", 11),
        ("a between 1 and 'x'", "two values of one type", 2),
        ("a is 3", "null after `is`", 5),
        ("a < null", "null has no order", 2),
        ("a like 3", "like needs a text pattern", 2),
        ("a like 'x\\'", "lone backslash", 2),
        ("a regexp '('", "RE2 refuses the regex", 2),
        ("a regexp '(?=x)'", "RE2 refuses the regex", 2),
        ("a contains null", "null cannot be compared", 2),
        ("a = 1e999", "must be finite", 2),
        ("a = " + "9" * 5000, "5000 digits", 4),
        ("a = timestamp '2024-05-01'", "time zone", 2),
        ("a = timestamp 'x'", "ISO 8601", 2),
        ("a = timestamp '0001-01-01T00:00:00+05:00'", "outside the years", 2),
        ("a = timestamp 5", "an ISO 8601 text after timestamp", 14),
        ("a = ?", "no parameter for this ?", 4),
        ("a = :x", "no parameter named 'x'", 4),
        ("a = :", "parameter name after the colon", 4),
        ("exists(a", "closing parenthesis after the field", 8),
        ("(" * 100 + "a = 1" + ")" * 100, "nested deeper than 64", None),
        ("not " * 100_000 + "a = 1", "nested deeper than 64", None),
        ("a = 1 or " * 10_001 + "a = 1", "use `in` for alternatives", None),
        ("a in (" + "1," * 100_001 + "1)", "at most 100000 values", None),
    ],
)
def test_wrong_text_is_pointed_at(text: str, hint: str, column: int | None) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text)
    message = str(caught.value)
    assert hint in message
    assert type(caught.value) is InvalidFilter
    if column is not None:
        excerpt, caret = message.splitlines()[-2:]
        assert caret.strip() == "^"
        assert excerpt.startswith("  " + text[:column])
        assert caret.index("^") == 2 + column


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ({"a": {"$gtee": 1}}, r"did you mean \$gte\?.*\$contains_any"),
        ({"a": {"gt": 1}}, "nested field instead: 'a.gt'"),
        ({"a": {"$foo": 1}}, r"these are \$eq \$ne"),
        ({"$annd": []}, r"did you mean \$and\?"),
        ({"$gt": 3}, "belongs under a field"),
        ({"$and": []}, "list of one or more"),
        ({"$or": {"a": 1}}, "list of one or more"),
        ({"$or": [3]}, "needs a condition like"),
        ({"$not": 3}, "needs a condition like"),
        ({"$or": [{}]}, "empty condition"),
        ({"a": {}}, "empty condition"),
        ({"a": [1, 2]}, "contains_all"),
        ({"a": {"$gt": None}}, "null has no order"),
        ({"a": {"$in": "abc"}}, r"\['abc'\]"),
        ({"a": {"$in": [[1]]}}, "a list cannot be compared"),
        ({"a": {"$between": [1]}}, "low, high"),
        ({"a": {"$exists": 1}}, "true or false"),
        ({"a": {"$regex": 5}}, "text pattern"),
        ({"a": {"$not": 5}}, "needs a condition"),
        ({"a": {"$datetime": 5}}, "a datetime is written"),
        ({"a": {"$eq": {"x": 1}}}, "dotted path"),
        ({"a": b"x"}, "type bytes"),
        ({"a": Decimal(1)}, "type Decimal"),
        ({"a": float("nan")}, "must be finite"),
        ({"a": NAIVE}, "naive datetime"),
        ({"a": date(2024, 1, 1)}, "use an aware datetime"),
        ({"a": np.datetime64("2024-01-01")}, "datetime64"),
        ({"a..b": 1}, "not a field path"),
        ({"": 1}, "not a field path"),
        ({'"a"b': 1}, "dot after the quoted key"),
        ({3: 1}, "one or more names"),
        ({"a": {"$in": list(range(100_001))}}, "at most 100000"),
        ({"a": 10**2000}, "too large"),
        (3, "SQL text, a dict or an F expression"),
        ([("a", 1)], "SQL text, a dict or an F expression"),
        (F("a"), "alone is no condition"),
    ],
)
def test_wrong_objects_are_explained(where: Any, hint: str) -> None:
    with pytest.raises(InvalidFilter, match=hint):
        parse_filter(where)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: (F.a > 1) and (F.b > 1), "no truth value"),
        (lambda: not (F.a > 1), "no truth value"),
        (lambda: 1 < F.a < 5, "between"),
        (lambda: F.a > 1 & F.b, "alone is not a condition"),
        (lambda: ~F.a, "alone is not a condition"),
        (lambda: bool(F.a), "alone is not a condition"),
        (lambda: (F.a > 1) & True, "both sides, got True"),
        (lambda: True | (F.a > 1), "both sides, got True"),
        (lambda: (F.a > 1) & F.b, "alone is not a condition|both sides"),
        (lambda: F.a == F.b, "compared with a value"),
        (lambda: F.a == [1], "contains_all"),
        (lambda: F.a.contains(["x"]), "contains_all"),
        (lambda: F.a.isin("abc"), "needs a list"),
        (lambda: F.a.isin(3), "needs a list"),
        (lambda: F.a > None, "null has no order"),
        (lambda: F(3), "a field name is a str"),
        (lambda: F("a", 3), "one or more names"),
        (lambda: reduce(lambda node, _: ~node, range(70), F.a == 1), "nested deeper"),
    ],
)
def test_wrong_expressions_are_explained(make: Callable[[], object], hint: str) -> None:
    with pytest.raises(InvalidFilter, match=hint):
        make()


def test_a_deep_dict_is_refused_without_recursion_error() -> None:
    where: dict[str, Any] = {"a": 1}
    for _ in range(100_000):
        where = {"$not": where}
    with pytest.raises(InvalidFilter, match="nested deeper than 64"):
        parse_filter(where)
    field: dict[str, Any] = {"$eq": 1}
    for _ in range(100_000):
        field = {"$not": field}
    with pytest.raises(InvalidFilter, match="nested deeper than 64"):
        parse_filter({"a": field})


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("a=1 And b<>'it''s'", (F.a == 1) & (F.b != "it's")),
        ("not a = 1 and b = 2 or c = 3", (~(F.a == 1) & (F.b == 2)) | (F.c == 3)),
        ("a = 1 or b = 2 and c = 3", (F.a == 1) | ((F.b == 2) & (F.c == 3))),
        ("a not between 1 and 2 and b=3", ~F.a.between(1, 2) & (F.b == 3)),
        ("a not like 'x' or a not contains 3", ~F.a.like("x") | ~F.a.contains(3)),
        ('"two words".x."y.z" >= -1.5e3', F("two words", "x", "y.z") >= -1500),
        ("timestamp = datetime '2024-05-01T00:00:00Z'", F.timestamp == datetime(2024, 5, 1, tzinfo=UTC)),
        ("exists = 1 and any = 2", (F("exists") == 1) & (F("any") == 2)),
        ("größe > .5", F("größe") > 0.5),
        ({"a": {"$gte": 1, "$lt": 5}, "b.c": None}, (F.a >= 1) & (F.a < 5) & F("b.c").is_null()),
        ({"$nor": [{"a": 1}, {"b": 2}]}, ~((F.a == 1) | (F.b == 2))),
        ({"a": {"$not": {"$gt": 1}}}, ~(F.a > 1)),
        ({"a": {"$exists": False}, "b": {"$null": False}}, ~F.a.exists() & F.b.is_not_null()),
        ({"a": {"$datetime": "2024-05-01T02:00:00+02:00"}}, F.a == datetime(2024, 5, 1, tzinfo=UTC)),
        ({("a", "b.c"): {"$all": ["x"]}}, F("a", "b.c").contains_all(["x"])),
        ({'"$x"': 1}, F('"$x"') == 1),
        ({"a": {"$in": np.array([3, 1, 3])}}, F.a.isin({1, 3})),
        ({"a": np.float32(0.5)}, F.a == 0.5),
    ],
)
def test_spellings_mean_the_same(left: Any, right: Any) -> None:
    assert parse_filter(left) == parse_filter(right)
    assert hash(parse_filter(left)) == hash(parse_filter(right))


def test_nodes_are_cache_keys() -> None:
    assert parse_filter(F.a == 1) == parse_filter(F.a == 1.0)
    assert parse_filter(F.a == 1) != parse_filter(F.a == True)  # noqa: E712 - the literal True
    assert parse_filter(F.a.isin([1, 0])) != parse_filter(F.a.isin([True, False]))
    assert parse_filter(F.a.isin([1, "x"])) == parse_filter(F.a.isin(["x", 1, 1]))
    assert parse_filter(F.a.isin([1])) != parse_filter(F.a.contains_any([1]))
    assert parse_filter(F.a.between(0, 1)) != parse_filter(F.a.between(False, True))
    assert parse_filter(F.a == "1") != parse_filter(F.a == 1)


def test_parameters_are_bound() -> None:
    assert parse_filter("a = ? and b in (?, 2)", ["it's", 1]) == parse_filter((F.a == "it's") & F.b.isin([1, 2]))
    assert parse_filter("a in :ids or b = :ids2", {"ids": [1, 2], "ids2": None}) == parse_filter(
        F.a.isin([1, 2]) | F.b.is_null()
    )
    for text, params, hint in (
        ("a = ?", [1, 2], "2 parameters given"),
        ("a = ? and b = ?", [1], "pass params"),
        ("a = :x", [1], "no parameter named"),
        ("a = ?", {"x": 1}, "no parameter for this"),
        ("a = 1", "text", "params is a sequence"),
        ({"a": 1}, [1], "params belong to a filter in SQL text"),
    ):
        with pytest.raises(InvalidFilter, match=hint):
            parse_filter(text, params)  # type: ignore[arg-type]  # wrong on purpose


def test_no_filter_is_none() -> None:
    assert parse_filter(None) is None
    assert parse_filter({}) is None


WORDS = [
    *(
        "a",
        "b.c",
        "and",
        "or",
        "not",
        "in",
        "(",
        ")",
        ",",
        "=",
        "<",
        "between",
        "is",
        "null",
        "contains",
        "any",
    ),
    *("'x'", "1", "-2.5", "?", ":p", "exists", "like", "timestamp", "'", '"', ".", "regexp", "'('"),
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)))
def test_no_text_raises_anything_but_invalid_filter(text: str) -> None:
    try:
        node = parse_filter(text, {"p": 1})
    except InvalidFilter:
        return
    assert parse_filter(str(node)) == node


keys = st.sampled_from(
    ["a", "b.c", "$and", "$or", "$not", "$in", "$eq", "$between", "$exists", "$regex", "$datetime", ""]
)
json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(keys, json, max_size=3))
def test_no_dict_raises_anything_but_invalid_filter(where: dict[str, object]) -> None:
    try:
        node = parse_filter(where)
    except InvalidFilter:
        return
    assert node is None or parse_filter(str(node)) == node


def test_regex_without_re2_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    node = parse_filter(F.a.regex("only-here-[0-9]"))
    assert node is not None
    with pytest.raises(MissingExtra, match=r'pip install "vicinal\[regex\]"'):
        evaluate(node, lambda _: Column.from_values(["x"]), 1)
    with pytest.raises(MissingExtra, match=r'pip install "vicinal\[regex\]"'):
        matches(node, {"a": "x"})


def test_hostile_patterns_take_linear_time() -> None:
    text = "a" * 20_000
    started = time.process_time()
    for node in (
        parse_filter(F.a.like("%a" * 50 + "%b")),
        parse_filter(F.a.regex("(a+)+b")),
        parse_filter(F.a.regex("(a|aa)*c")),
    ):
        assert node is not None
        assert not evaluate(node, lambda _: Column.from_values([text]), 1)[0]
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "path", [("$and",), ('"',), ("",), ("a.b", 'c"d'), ("in", "NULL"), ("two words",), ("2d",), ("a\n",)]
)
def test_any_key_survives_text_and_dict(path: tuple[str, ...]) -> None:
    node = Exists(path)
    assert parse_filter(to_dict(node)) == node
    assert parse_filter(str(node)) == node
