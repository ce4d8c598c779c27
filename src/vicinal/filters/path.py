"""Field paths: tuples of keys, and their dotted spelling.

`a.b` is key "b" inside the object under "a". A key that itself contains a dot is quoted:
`a."b.c"`; a quote inside quotes is doubled.
"""

from __future__ import annotations

import re

from vicinal.errors import InvalidFilter, shorten

__all__ = ["Path", "checked_path", "format_path", "parse_path", "sql_path"]

Path = tuple[str, ...]

# Words that the SQL grammar needs for itself; as field names they must be quoted.
RESERVED = frozenset(
    (
        *("and", "or", "not", "in", "between", "is", "null", "true", "false"),
        *("like", "ilike", "regexp", "matches", "contains"),
    )
)
_QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"')
_PLAIN_SQL = re.compile(r"[^\W\d][\w$]*")


def checked_path(path: object) -> Path:
    """Return `path` if it is a non-empty tuple of strings, or raise InvalidFilter."""
    if isinstance(path, tuple) and path and all(isinstance(key, str) for key in path):
        return tuple(str.__str__(key) for key in path)
    raise InvalidFilter(f"a field is one or more names, got {shorten(path)}")


def parse_path(text: str) -> Path:
    """Return the keys of a dotted path.

    >>> parse_path('a."b.c"')
    ('a', 'b.c')
    """
    keys: list[str] = []
    position = 0
    while True:
        quoted = _QUOTED.match(text, position)
        if quoted:
            keys.append(quoted[1].replace('""', '"'))
            position = quoted.end()
        else:
            end = text.find(".", position)
            end = len(text) if end < 0 else end
            if end == position or text[position] == '"':
                raise InvalidFilter(f'{shorten(text)} is not a field path; write it like a.b or a."b.c"')
            keys.append(text[position:end])
            position = end
        if position == len(text):
            return tuple(keys)
        if text[position] != ".":
            raise InvalidFilter(f"expected a dot after the quoted key in the field path {shorten(text)}")
        position += 1


def format_path(path: Path) -> str:
    """Return the dotted spelling that `parse_path` reads back."""
    return ".".join(_quoted(key) if not key or "." in key or key[0] in '"$' else key for key in path)


def sql_path(path: Path) -> str:
    """Return the path as the SQL filter text spells it."""
    return ".".join(key if _PLAIN_SQL.fullmatch(key) and key.lower() not in RESERVED else _quoted(key) for key in path)


def _quoted(key: str) -> str:
    return '"' + key.replace('"', '""') + '"'
