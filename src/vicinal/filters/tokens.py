"""Tokens of the SQL spelling, and the error that points at a place in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vicinal.errors import InvalidFilter

__all__ = ["Token", "failure", "tokenize"]

TokenKind = Literal["word", "quoted", "text", "number", "operator", "parameter", "end"]

_OPERATORS = ("<=", ">=", "==", "!=", "<>", "=", "<", ">", "(", ")", ",", ".", "?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WORD = re.compile(r"[^\W\d][\w$]*")
_TEXT = re.compile(r"'([^']*(?:''[^']*)*)'")
_QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"')
_PARAMETER = re.compile(r":([^\W\d]\w*)")
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of filter text: its kind, its content (unquoted) and where it begins."""

    kind: TokenKind
    text: str
    position: int

    @property
    def word(self) -> str:
        """The keyword in lower case, or "" if the token cannot be a keyword."""
        return self.text.lower() if self.kind == "word" else ""

    def __str__(self) -> str:
        return "the end of the filter" if self.kind == "end" else repr(self.text[:40])


def failure(source: str, position: int, message: str) -> InvalidFilter:
    """Return the error `message` with a caret under `position` of the text.

    >>> print(failure("year ~ 3", 5, "expected an operator"))
    expected an operator
      year ~ 3
           ^
    """
    start = max(0, position - 50)
    excerpt = "".join(char if char.isprintable() else " " for char in source[start : position + 30])
    head, tail = "…" if start else "", "…" if position + 30 < len(source) else ""
    return InvalidFilter(f"{message}\n  {head}{excerpt}{tail}\n  {' ' * (position - start + len(head))}^")


def tokenize(source: str) -> list[Token]:
    """Return the tokens of the text, the last of kind "end"; raise InvalidFilter."""
    tokens: list[Token] = []
    position = _skip_space(source, 0)
    while position < len(source):
        token, end = _token(source, position)
        tokens.append(token)
        position = _skip_space(source, end)
    tokens.append(Token("end", "", len(source)))
    return tokens


def _skip_space(source: str, position: int) -> int:
    space = _SPACE.match(source, position)
    return space.end() if space else position


def _token(source: str, position: int) -> tuple[Token, int]:
    if found := _WORD.match(source, position):
        return Token("word", found[0], position), found.end()
    if found := _NUMBER.match(source, position):
        if _WORD.match(source, found.end()):
            raise failure(source, found.end(), 'a name cannot begin with a digit; quote it: "2d"')
        return Token("number", found[0], position), found.end()
    if found := _TEXT.match(source, position):
        return Token("text", found[1].replace("''", "'"), position), found.end()
    if found := _QUOTED.match(source, position):
        return Token("quoted", found[1].replace('""', '"'), position), found.end()
    if found := _PARAMETER.match(source, position):
        return Token("parameter", found[1], position), found.end()
    for operator in _OPERATORS:
        if source.startswith(operator, position):
            return Token("operator", operator, position), position + len(operator)
    raise failure(source, position, _complaint(source[position]))


def _complaint(char: str) -> str:
    match char:
        case "'":
            return "this text has no closing quote; a quote inside text is doubled: 'it''s'"
        case '"':
            return "this quoted field name has no closing quote"
        case ":":
            return "expected a parameter name after the colon"
        case "&" | "|" | "~":
            return f"unexpected {char!r}; in SQL text write and, or, not"
        case _:
            return f"unexpected character {char!r}"
