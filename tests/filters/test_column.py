"""Columns: growth and patches equal a fresh build, old versions stay, order and facts are right."""

from __future__ import annotations

import random
import threading
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vicinal.errors import InvalidMetadata
from vicinal.filters import MISSING, Column, evaluate, parse_filter

from . import generation

if TYPE_CHECKING:
    from collections.abc import Callable

FILTERS = [
    parse_filter(text)
    for text in (
        "a = 1", "a >= 2", "a < 127.5", "a = 'a'", "a like 'a%'", "a > 'a'", "a = true",
        "a is null", "exists(a)", "a contains all ()",
        "a in (1, 'ab', 0.5, 40000)", "a contains 'a'", "a contains any (1, 'x', true)",
        "a contains all ('a', 1)", "a contains all (1, 2, 'a', true)",
        "a between -200 and 200", "a >= timestamp '2024-05-01T12:00:00Z'",
    )
]  # fmt: skip


def observed(column: Column) -> list[Any]:
    """Return everything that a column tells about its rows."""
    masks = [evaluate(node, lambda _: column, len(column)).tolist() for node in FILTERS if node is not None]
    orders = [column.order(descending=descending).tolist() for descending in (False, True)]
    return [len(column), column.kinds, column.present, column.sort_keys().tolist(), *orders, *masks]


def a_value(pick: generation.Pick) -> Any:
    return MISSING if pick([True, *[False] * 7]) else generation.value(pick)


def uniform_values(pick: generation.Pick) -> Callable[[], Any]:
    """Return a maker of values of one random type, so that columns change type late."""
    family: Any = pick([[1, 2, 127], [1, 40000, -(2**40)], [0.5, 1.0], ["a", "ab"], [True, False], [None], [["a"], []]])
    return lambda: pick(family)


def test_extended_and_patched_equal_a_fresh_column() -> None:
    chance = random.Random(7)
    for _ in range(300):
        make = chance.choice([lambda: a_value(chance.choice), uniform_values(chance.choice)])
        values = [make() for _ in range(chance.randrange(6))]
        column = Column.from_values(values)
        history = []
        for _ in range(chance.randrange(1, 7)):
            history.append((column, list(values)))
            if chance.random() < 0.3:
                make = chance.choice([lambda: a_value(chance.choice), uniform_values(chance.choice)])
            if chance.random() < 0.5:
                more = [make() for _ in range(chance.randrange(5))]
                column, values = column.extended(more), values + more
            else:
                positions = chance.sample(range(len(values)), chance.randrange(len(values) + 1))
                new = [make() for _ in positions]
                column = column.patched(np.array(positions, np.int64), new)
                for position, each in zip(positions, new, strict=True):
                    values[position] = each
        for version, expected in [*history, (column, values)]:
            assert observed(version) == observed(Column.from_values(expected))


def test_extended_by_repeats_values_by_position() -> None:
    chance = random.Random(11)
    for _ in range(300):
        start = [a_value(chance.choice) for _ in range(chance.randrange(4))]
        values = [a_value(chance.choice) for _ in range(chance.randrange(1, 5))]
        rows = [chance.randrange(len(values)) for _ in range(chance.randrange(12))]
        column = Column.from_values(start).extended_by(values, np.array(rows, np.int64))
        assert observed(column) == observed(Column.from_values(start + [values[row] for row in rows]))


@pytest.mark.parametrize("length", [7, 8, 9, 40])
@pytest.mark.parametrize("n_wanted", [1, 5, 40])
def test_lists_of_any_length_are_searched_whole(length: int, n_wanted: int) -> None:
    rng = np.random.default_rng(length)
    lists = [rng.integers(0, 50, length + extra % 3).tolist() for extra in range(200)]
    lists[::7] = [list(range(60)) for _ in lists[::7]]
    column = Column.from_values(lists)
    wanted = set(rng.permutation(50)[:n_wanted].tolist())
    for word, holds in (("any", lambda row: bool(wanted & set(row))), ("all", lambda row: wanted <= set(row))):
        node = parse_filter(f"a contains {word} ?", [sorted(wanted)])
        assert node is not None
        assert evaluate(node, lambda _: column, len(lists)).tolist() == [holds(row) for row in lists]


def test_two_appends_to_one_column_do_not_mix() -> None:
    base = Column.from_values(["a", "b"]).extended(["c"])
    first, second = base.extended(["a"]), base.extended(["x"])
    assert observed(first) == observed(Column.from_values(["a", "b", "c", "a"]))
    assert observed(second) == observed(Column.from_values(["a", "b", "c", "x"]))


def test_an_old_column_is_asked_for_values_that_came_later() -> None:
    old = Column.from_values(["a", ["a"], "b"])
    names = [f"s{number}" for number in range(300)]
    old.extended(names).extended([names])
    # In the one byte that the old codes have, code 257 would be taken for code 1, which is "a".
    for number in range(300):
        for text in (f"a = 's{number}'", f"a contains 's{number}'"):
            node = parse_filter(text)
            assert node is not None
            assert not evaluate(node, lambda _: old, 3).any()


@pytest.mark.parametrize("spread", [1, 300, 30_000, 2**30, 2**60])
@pytest.mark.parametrize("scale", [1, 250, 60_000, 2**40])
def test_long_lists_of_ints_are_looked_up_in_any_width(spread: int, scale: int) -> None:
    values = [sign * scale // divisor for sign in (-1, 1) for divisor in range(1, 40)]
    wanted = [*values[::3], *range(-20, 20), spread, -spread]
    node = parse_filter("a in ?", [wanted])
    assert node is not None
    found = evaluate(node, lambda _: Column.from_values(values), len(values))
    assert found.tolist() == [value in wanted for value in values]


def test_an_append_is_seen_by_no_reader_of_the_old_column() -> None:
    column = Column.from_values([1, 2]).extended([3])
    before = observed(column)
    column.extended([4, "a", None])
    assert observed(column) == before


def test_appends_from_threads_keep_each_result_right() -> None:
    base = Column.from_values([["a"], "a", 1] * 20).extended([1])
    expected = [["a"], "a", 1] * 20 + [1]
    results: dict[int, Column] = {}
    start = threading.Barrier(4)

    def append(number: int) -> None:
        start.wait()
        column = base
        for step in range(50):
            column = column.extended([f"t{number}-{step}", [f"t{number}"], number])
        results[number] = column

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, column in results.items():
        values = expected + [each for step in range(50) for each in (f"t{number}-{step}", [f"t{number}"], number)]
        for text in (f"a = 't{number}-7'", f"a contains 't{number}'", f"a = {number}", "a like 't%-1_'"):
            node = parse_filter(text)
            assert node is not None
            fresh = Column.from_values(values)
            assert np.array_equal(
                evaluate(node, lambda _, c=column: c, len(values)),
                evaluate(node, lambda _, f=fresh: f, len(values)),
            )


def test_replaced_strings_do_not_pile_up() -> None:
    column = Column.from_values(["x", ["y"]])
    for step in range(3000):
        column = column.patched(np.array([0, 1]), [f"s{step}", [f"e{step}"]])
    assert len(column.strings) < 1100
    assert len(column.elements) < 1100
    assert observed(column) == observed(Column.from_values(["s2999", ["e2999"]]))


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (np.array([1, -5, 300]), [1, -5, 300]),
        (np.array([1, 5], np.uint64), [1, 5]),
        (np.array([0.5, 2], np.float32), [0.5, 2.0]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "ab"]), ["a", "ab"]),
        (np.array(["a", None, 1], object), ["a", None, 1]),
        (np.array([], np.int64), []),
    ],
)
def test_an_array_makes_the_column_of_its_values(array: np.ndarray[Any, Any], values: list[Any]) -> None:
    column = Column.from_array(array)
    fresh = Column.from_values(values)
    assert observed(column)[3:] == observed(fresh)[3:]
    assert column.kinds == fresh.kinds


def test_an_array_given_is_not_shared() -> None:
    array = np.array([1, 2], np.int64) << 40
    column = Column.from_array(array)
    array[:] = 0
    assert observed(column) == observed(Column.from_values([1 << 40, 2 << 40]))


class Colour(StrEnum):
    RED = "red"


def test_numpy_scalars_and_subclasses_become_plain_values() -> None:
    column = Column.from_values([np.int32(1), np.float64(0.5), np.bool_(True), np.str_("a"), Colour.RED, ("a",)])
    assert observed(column) == observed(Column.from_values([1, 0.5, True, "a", "red", ["a"]]))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (2**63, "does not fit into 64 bits"),
        (float("nan"), "NaN"),
        (b"x", "bytes"),
        (datetime(2024, 1, 1), "naive"),  # noqa: DTZ001 - refused for this
        ([datetime(2024, 1, 1)], "naive"),  # noqa: DTZ001 - refused for this
        (np.datetime64("2024-01-01"), "datetime64"),
    ],
)
def test_values_outside_the_model_are_refused(value: object, hint: str) -> None:
    with pytest.raises(InvalidMetadata, match=hint):
        Column.from_values([value])
    with pytest.raises(InvalidMetadata, match=hint):
        Column.from_values([None, "a", value])


def test_arrays_outside_the_model_are_refused() -> None:
    for array in (np.array([np.inf]), np.array([2**64 - 1], np.uint64), np.zeros((2, 2)), np.array([b"x"]),
                  np.array(["2024"], "datetime64[D]")):  # fmt: skip
        with pytest.raises(InvalidMetadata):
            Column.from_array(array)


def test_patches_outside_the_rows_are_refused() -> None:
    column = Column.from_values([1, 2])
    for positions, error in (([2], IndexError), ([-1], IndexError), ([0, 0], ValueError), ([0], ValueError)):
        with pytest.raises(error):
            column.patched(np.array(positions), [1] * (2 if positions == [0] else len(positions)))


def expected_order(values: list[Any], *, descending: bool) -> list[int]:
    """Sort with Python's own comparisons, which are exact and stable."""

    def key(position: int) -> tuple[int, Any]:
        match values[position]:
            case bool(value):
                return 0, value
            case int(value) | float(value):
                return 1, value
            case datetime() as value:
                return 2, value
            case str(value):
                return 3, value
            case _:
                return 4, 0

    present = [place for place, value in enumerate(values) if value is not None and value is not MISSING]
    absent = [place for place, value in enumerate(values) if value is None or value is MISSING]
    return sorted(present, key=key, reverse=descending) + absent


def test_the_order_is_that_of_python() -> None:
    chance = random.Random(3)
    families = [generation.NUMBERS, generation.TEXTS, generation.DATETIMES, [True, False, None], None]
    for _ in range(300):
        family = chance.choice(families)
        values = [chance.choice(family) if family else a_value(chance.choice) for _ in range(chance.randrange(25))]
        column = Column.from_values(values)
        for descending in (False, True):
            assert column.order(descending=descending).tolist() == expected_order(values, descending=descending)


def test_narrow_ints_and_codes_save_memory() -> None:
    n = 10_000
    assert Column.from_values([2024] * n).nbytes < 2.2 * n
    assert Column.from_values(["a", "b"] * (n // 2)).nbytes < 1.2 * n
    assert Column.from_values([True, None] * (n // 2)).nbytes < 1.2 * n
