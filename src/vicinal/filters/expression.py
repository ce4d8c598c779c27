"""Filters as Python expressions: `(F("year") >= 2024) & F("tags").contains("diy")`."""

from __future__ import annotations

from typing import NoReturn

from vicinal.errors import InvalidFilter, shorten
from vicinal.filters import ast
from vicinal.filters.build import compare, membership
from vicinal.filters.path import Path, checked_path, format_path, parse_path

__all__ = ["Expression", "F", "Field"]

_PARENTHESES = "use & | ~ and put each comparison into parentheses: (F.a >= 1) & (F.b < 2)"


class Expression:
    """A condition; combine with `&`, `|`, `~` and pass it as `where=`."""

    __slots__ = ("_node",)

    def __init__(self, node: ast.Node) -> None:
        self._node = node

    @property
    def node(self) -> ast.Node:
        """The syntax tree of the condition."""
        return self._node

    def __and__(self, other: Expression) -> Expression:
        return Expression(ast.And((self._node, _node_of(other))))

    def __or__(self, other: Expression) -> Expression:
        return Expression(ast.Or((self._node, _node_of(other))))

    def _refuse(self, other: object) -> NoReturn:
        raise InvalidFilter(_one_sided(other))

    __rand__ = __ror__ = _refuse

    def __invert__(self) -> Expression:
        return Expression(ast.Not(self._node))

    def __bool__(self) -> NoReturn:
        raise InvalidFilter(
            "a filter expression has no truth value: `and`, `or`, `not` and chained comparisons "
            f"(1 < F.a < 5) do not work; {_PARENTHESES}; for ranges use between"
        )

    def __repr__(self) -> str:
        return f"Expression({str(self._node)!r})"


class Field:
    """A field of the metadata; compare it or call a method to get an Expression."""

    __slots__ = ("_path",)
    __hash__ = None  # type: ignore[assignment]  # == does not mean equality here

    def __init__(self, path: Path) -> None:
        self._path = path

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]
        return Expression(compare(self._path, "==", _operand(value)))

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]
        return Expression(compare(self._path, "!=", _operand(value)))

    def __lt__(self, value: object) -> Expression:
        return Expression(compare(self._path, "<", _operand(value)))

    def __le__(self, value: object) -> Expression:
        return Expression(compare(self._path, "<=", _operand(value)))

    def __gt__(self, value: object) -> Expression:
        return Expression(compare(self._path, ">", _operand(value)))

    def __ge__(self, value: object) -> Expression:
        return Expression(compare(self._path, ">=", _operand(value)))

    def isin(self, values: object) -> Expression:
        """Test that the field equals one of the values."""
        return Expression(membership(self._path, values))

    def not_in(self, values: object) -> Expression:
        """Test that the field equals none of the values; also where it is missing."""
        return Expression(membership(self._path, values, negated=True))

    def between(self, low: object, high: object) -> Expression:
        """Test that the field lies between `low` and `high`, both included."""
        return Expression(ast.Between(self._path, low, high))  # type: ignore[arg-type]  # checked by the node

    def like(self, pattern: str) -> Expression:
        """Test that the field is text that matches: % any text, _ any character, backslash escapes."""
        return Expression(ast.Like(self._path, pattern))

    def ilike(self, pattern: str) -> Expression:
        """Test that the field matches like `like`, ignoring case."""
        return Expression(ast.Like(self._path, pattern, ignore_case=True))

    def regex(self, pattern: str) -> Expression:
        """Test that the RE2 expression is found in the field. Needs `vicinal[regex]`."""
        return Expression(ast.Regex(self._path, pattern))

    def is_null(self) -> Expression:
        """Test that the field is null or missing."""
        return Expression(ast.IsNull(self._path))

    def is_not_null(self) -> Expression:
        """Test that the field has a value."""
        return Expression(ast.Not(ast.IsNull(self._path)))

    def exists(self) -> Expression:
        """Test that the key is present, even if its value is null."""
        return Expression(ast.Exists(self._path))

    def contains(self, value: object) -> Expression:
        """Test that the field is a list with an element equal to `value`."""
        return Expression(ast.Contains(self._path, value))  # type: ignore[arg-type]  # checked by the node

    def contains_any(self, values: object) -> Expression:
        """Test that the field is a list with at least one of the values."""
        return Expression(ast.ContainsAny(self._path, values))  # type: ignore[arg-type]  # checked by the node

    def contains_all(self, values: object) -> Expression:
        """Test that the field is a list with all of the values."""
        return Expression(ast.ContainsAll(self._path, values))  # type: ignore[arg-type]  # checked by the node

    def _refuse(self, *_: object) -> NoReturn:
        name = format_path(self._path)
        raise InvalidFilter(f"the field {shorten(name)} alone is not a condition; compare it, and {_PARENTHESES}")

    __and__ = __rand__ = __or__ = __ror__ = __invert__ = __bool__ = _refuse

    def __repr__(self) -> str:
        return f"F({format_path(self._path)!r})"


class _Fields:
    """The maker of fields, known as `F`.

    `F("a.b")` is key "b" inside object "a"; `F("a", "b.c")` takes the keys literally.

    >>> (F("year") >= 2024) & F.tags.contains("diy")
    Expression("year >= 2024 and tags contains 'diy'")
    """

    __slots__ = ()

    def __call__(self, name: str, *keys: str) -> Field:
        if not isinstance(name, str):
            raise InvalidFilter(f"a field name is a str, got {shorten(name)}")
        return Field(checked_path((name, *keys)) if keys else parse_path(name))

    def __getattr__(self, name: str) -> Field:
        # Protocol look-ups (copying, pickling, doctest) must see that F has no such method.
        if name.startswith("__"):
            raise AttributeError(name)
        return Field((name,))

    def __repr__(self) -> str:
        return "F"


F = _Fields()


def _operand(value: object) -> object:
    if isinstance(value, Field | Expression):
        raise InvalidFilter(f"a field is compared with a value, not with {value!r}; {_PARENTHESES}")
    return value


def _node_of(other: object) -> ast.Node:
    if isinstance(other, Expression):
        return other.node
    raise InvalidFilter(_one_sided(other))


def _one_sided(other: object) -> str:
    return f"& and | need a filter expression on both sides, got {shorten(other)}; {_PARENTHESES}"
