"""Filters as SQL text: `year >= 2024 and tags contains 'diy'`.

Grammar, loosest first; keywords are not case-sensitive:

    or        = and { "or" and }
    and       = not { "and" not }
    not       = "not" not | "(" or ")" | "exists" "(" field ")" | predicate
    predicate = field comparison value
              | field ["not"] "in" values | field "is" ["not"] "null"
              | field ["not"] "between" value "and" value
              | field ["not"] ("like" | "ilike" | "regexp" | "matches") text
              | field ["not"] "contains" ( value | ("any" | "all") values )
    values    = "(" [ value { "," value } ] ")" | parameter
    value     = 'text' | number | true | false | null | ("timestamp" | "datetime") 'ISO 8601' | parameter
    parameter = "?" | ":name"
    field     = name { "." name }           name = word | "quoted"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from vicinal.errors import InvalidFilter, shorten
from vicinal.filters import ast
from vicinal.filters.ast import MAX_DEPTH, Node, Not
from vicinal.filters.build import compare, membership
from vicinal.filters.literal import MAX_VALUES, Scalar, parse_datetime
from vicinal.filters.path import RESERVED, Path
from vicinal.filters.tokens import Token, failure, tokenize

__all__ = ["Parameters", "parse_sql"]

Parameters = Sequence[object] | Mapping[str, object] | None

_COMPARISONS: dict[str, ast.CompareOperator] = {
    "=": "==", "==": "==", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip
# A little more than the longest int a filter takes; int() itself refuses 4300 digits.
_MAX_DIGITS = 1300
_OPERATORS = "an operator (= != < <= > >= in, between, like, ilike, regexp, contains, is null)"


def parse_sql(source: str, params: Parameters = None) -> Node:
    """Return the tree of the filter text; raise InvalidFilter pointing at the mistake."""
    try:
        return _Parser(source, params).parse()
    except _Pointed as error:
        raise InvalidFilter(error.args[0]) from None


class _Pointed(Exception):
    """A message that already points at its place, unlike the InvalidFilter of a node."""


class _Parser:
    def __init__(self, source: str, params: Parameters) -> None:
        if isinstance(params, str | bytes) or not isinstance(params, Sequence | Mapping | None):
            raise InvalidFilter(f"params is a sequence for ? or a mapping for :name, got {shorten(params)}")
        self._source = source
        self._tokens = tokenize(source)
        self._position = 0
        self._depth = 0
        self._params = params
        self._n_bound = 0

    def parse(self) -> Node:
        if self._next.kind == "end":
            raise InvalidFilter("the filter text is empty; pass None for no filter")
        node = self._or()
        if self._position < len(self._tokens) - 1:
            raise self._expected("`and`, `or` or the end of the filter")
        if not isinstance(self._params, Mapping) and self._params and self._n_bound != len(self._params):
            raise InvalidFilter(f"{len(self._params)} parameters given, but the filter has {self._n_bound} ?")
        return node

    # Conditions

    def _or(self) -> Node:
        nodes = [self._and()]
        while self._accept("or"):
            nodes.append(self._and())
        return ast.any_of(nodes)

    def _and(self) -> Node:
        nodes = [self._not()]
        while self._accept("and"):
            nodes.append(self._not())
        return ast.all_of(nodes)

    def _not(self) -> Node:
        token = self._next
        if token.word != "not" and not self._is("("):
            return self._exists() if self._is_exists() else self._predicate()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._failure(token, f"the filter is nested deeper than {MAX_DEPTH} levels")
        self._take()
        if token.word == "not":
            node: Node = Not(self._not())
        else:
            node = self._or()
            self._require(")", "`and`, `or` or a closing parenthesis")
        self._depth -= 1
        return node

    def _is_exists(self) -> bool:
        following = self._tokens[self._position + 1] if self._next.kind == "word" else self._next
        return self._next.word == "exists" and following.kind == "operator" and following.text == "("

    def _exists(self) -> Node:
        self._take()
        self._take()
        path = self._field()
        self._require(")", "a closing parenthesis after the field")
        return ast.Exists(path)

    def _predicate(self) -> Node:
        path = self._field()
        start = self._next
        try:
            return self._condition(path)
        except InvalidFilter as error:
            raise self._failure(start, str(error)) from None

    def _condition(self, path: Path) -> Node:
        token = self._next
        if token.kind == "operator" and token.text in _COMPARISONS:
            self._take()
            return compare(path, _COMPARISONS[token.text], self._value())
        if self._accept("is"):
            negated = self._accept("not")
            self._require("null", "null after `is`")
            return Not(ast.IsNull(path)) if negated else ast.IsNull(path)
        negated = self._accept("not")
        if self._accept("in"):
            return membership(path, self._values(), negated=negated)
        node = self._negatable(path)
        return Not(node) if negated else node

    def _negatable(self, path: Path) -> Node:
        token = self._next
        match token.word:
            case "between":
                self._take()
                low = cast("Scalar", self._value())
                self._require("and", "`and` between the two values")
                return ast.Between(path, low, cast("Scalar", self._value()))
            case "like" | "ilike":
                self._take()
                return ast.Like(path, cast("str", self._value()), ignore_case=token.word == "ilike")
            case "regexp" | "matches":
                self._take()
                return ast.Regex(path, cast("str", self._value()))
            case "contains":
                self._take()
                return self._contains(path)
            case _:
                raise self._expected(_OPERATORS)

    def _contains(self, path: Path) -> Node:
        if self._accept("any"):
            return ast.ContainsAny(path, cast("tuple[Scalar, ...]", self._values()))
        if self._accept("all"):
            return ast.ContainsAll(path, cast("tuple[Scalar, ...]", self._values()))
        return ast.Contains(path, cast("Scalar", self._value()))

    # Fields and values

    def _field(self) -> Path:
        keys = [self._name()]
        while self._is("."):
            self._take()
            keys.append(self._name())
        return tuple(keys)

    def _name(self) -> str:
        token = self._next
        if token.kind == "quoted" or (token.kind == "word" and token.word not in RESERVED):
            return self._take().text
        hint = f'; a field of that name is quoted: "{token.text}"' if token.kind in ("word", "number") else ""
        raise self._failure(token, f"expected a field name, found {token}{hint}")

    def _values(self) -> object:
        token = self._next
        if token.kind == "parameter" or self._is("?"):
            return self._parameter()
        self._require("(", "a list of values in parentheses, or a parameter")
        values: list[object] = []
        while not self._is(")"):
            if values:
                self._require(",", "a comma or a closing parenthesis")
            values.append(self._value())
            if len(values) > MAX_VALUES:
                raise self._failure(token, f"a list has at most {MAX_VALUES} values; split the request")
        self._take()
        return values

    def _value(self) -> object:
        token = self._next
        if token.kind == "parameter" or self._is("?"):
            return self._parameter()
        if token.kind == "text":
            return self._take().text
        if token.kind == "number":
            return self._number(self._take())
        match token.word:
            case "true" | "false":
                return self._take().word == "true"
            case "null":
                self._take()
                return None
            case "timestamp" | "datetime":
                self._take()
                if self._next.kind != "text":
                    raise self._expected(f"an ISO 8601 text after {token.word}: '2024-05-01T00:00:00Z'")
                return parse_datetime(self._take().text)
        hint = "; text is in single quotes" if token.kind in ("word", "quoted") else ""
        raise self._failure(token, f"expected a value, found {token}{hint}")

    def _number(self, token: Token) -> int | float:
        if not set(".eE") & set(token.text):
            if len(token.text) > _MAX_DIGITS:
                raise self._failure(token, f"an int of {len(token.text)} digits is too large for a filter")
            return int(token.text)
        return float(token.text)

    def _parameter(self) -> object:
        token = self._take()
        if token.kind == "operator":
            values = () if isinstance(self._params, Mapping) else self._params or ()
            self._n_bound += 1
            if self._n_bound > len(values):
                needed = f"pass params=[…] with {self._n_bound} or more"
                raise self._failure(token, f"no parameter for this ?; {needed}")
            return values[self._n_bound - 1]
        if not isinstance(self._params, Mapping) or token.text not in self._params:
            name = shorten(token.text)
            raise self._failure(token, f"no parameter named {name}; pass params={{{name}: …}}")
        return self._params[token.text]

    # Tokens

    @property
    def _next(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        token = self._next
        self._position += 1
        return token

    def _is(self, operator: str) -> bool:
        return self._next.kind == "operator" and self._next.text == operator

    def _accept(self, word: str) -> bool:
        if self._next.word != word:
            return False
        self._position += 1
        return True

    def _require(self, text: str, what: str) -> None:
        if not self._is(text) and self._next.word != text:
            raise self._expected(what)
        self._position += 1

    def _expected(self, what: str) -> _Pointed:
        return self._failure(self._next, f"expected {what}, found {self._next}")

    def _failure(self, token: Token, message: str) -> _Pointed:
        return _Pointed(failure(self._source, token.position, message).args[0])
