"""The one syntax tree behind the three spellings of a filter.

Nodes are frozen, hashable and valid by construction: a node that exists has legal values and
is at most `MAX_DEPTH` deep, so whoever walks a tree may recurse. Two nodes are equal when they
mean the same literals (1 equals 1.0, but not True), which makes them cache keys.
`str(node)` is SQL text, `to_dict(node)` is JSON; parsing either gives an equal node.

Meaning. Logic has two values: every predicate is True or False for a row, and `not` is its
exact complement.

===================  ==================================================================
predicate            True when
===================  ==================================================================
== < <= > >=         the field holds a scalar of the literal's type and compares so
!=                   `==` is False (also where the field is missing, null, another type)
in                   `==` holds for one of the values
not in               `in` is False
between low, high    low <= field <= high, both ends included
like, ilike, regex   the field holds a str that matches
is null              the field is null or missing
exists               the key is present, even if its value is null
contains x           the field holds a list with an element equal to x
contains any         `contains` holds for one of the values (never for no values)
contains all         the field holds a list and `contains` holds for every value
===================  ==================================================================

Types are bool, number, datetime and str; values of different types are never equal and never
ordered. int and float compare by exact numeric value at any size, False < True, str by code
points, datetimes by instant. `== null` is `is null`, and null among the values of `in` adds
`or … is null`. A list equals no scalar. A path goes through objects only, never into lists,
and ("a", "b") never means a key named "a.b". An object satisfies only `exists`.
In like patterns % is any text, _ is any one character, and a backslash takes the next
character literally; ilike compares the case-folded text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from vicinal.errors import InvalidFilter, shorten
from vicinal.filters.literal import Kind, Scalar, kind_of, literal, literal_json, literal_sql, literals
from vicinal.filters.path import Path, checked_path, format_path, sql_path
from vicinal.filters.pattern import check_like, check_regex

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "And",
    "Between",
    "Compare",
    "Contains",
    "ContainsAll",
    "ContainsAny",
    "Exists",
    "In",
    "IsNull",
    "Like",
    "Node",
    "Not",
    "Or",
    "Regex",
    "fields",
    "to_dict",
]

MAX_DEPTH = 64
MAX_NODES = 10_000

CompareOperator = Literal["==", "!=", "<", "<=", ">", ">="]
_MONGO = {"==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


def _set(node: object, **values: object) -> None:
    """Assign normalised values to the fields of a frozen node under construction."""
    for name, value in values.items():
        object.__setattr__(node, name, value)


class _Leaf:
    """A predicate on one field."""

    __slots__ = ()
    depth: ClassVar[int] = 1
    size: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Compare(_Leaf):
    """The field compares so with a literal."""

    path: Path
    op: CompareOperator
    value: Scalar
    kind: Kind = field(init=False, repr=False)  # keeps True and 1 apart as cache keys

    def __post_init__(self) -> None:
        if self.op not in get_args(CompareOperator):
            raise InvalidFilter(f"{shorten(self.op)} is not a comparison; use == != < <= > >=")
        value = literal(self.value)
        _set(self, path=checked_path(self.path), value=value, kind=kind_of(value))

    def __str__(self) -> str:
        return f"{sql_path(self.path)} {self.op} {literal_sql(self.value)}"


@dataclass(frozen=True, slots=True)
class Between(_Leaf):
    """The field lies between two literals of one type, both included."""

    path: Path
    low: Scalar
    high: Scalar
    kind: Kind = field(init=False, repr=False)

    def __post_init__(self) -> None:
        low, high = literal(self.low), literal(self.high)
        if kind_of(low) != kind_of(high):
            raise InvalidFilter(f"between needs two values of one type, got {low!r:.40} and {high!r:.40}")
        _set(self, path=checked_path(self.path), low=low, high=high, kind=kind_of(low))

    def __str__(self) -> str:
        return f"{sql_path(self.path)} between {literal_sql(self.low)} and {literal_sql(self.high)}"


class _Many(_Leaf):
    """A predicate on one field and a set of literals."""

    __slots__ = ()
    words: ClassVar[str]
    operator: ClassVar[str]
    path: Path
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        values = literals(self.values, self.words)
        _set(self, path=checked_path(self.path), values=values, kinds=tuple(map(kind_of, values)))

    def __str__(self) -> str:
        return f"{sql_path(self.path)} {self.words} ({', '.join(map(literal_sql, self.values))})"


@dataclass(frozen=True, slots=True)
class In(_Many):
    """The field equals one of the literals."""

    words: ClassVar[str] = "in"
    operator: ClassVar[str] = "$in"
    path: Path
    values: tuple[Scalar, ...]
    kinds: tuple[Kind, ...] = field(init=False, repr=False)


@dataclass(frozen=True, slots=True)
class NotIn(_Many):
    """The field equals none of the literals."""

    words: ClassVar[str] = "not in"
    operator: ClassVar[str] = "$nin"
    path: Path
    values: tuple[Scalar, ...]
    kinds: tuple[Kind, ...] = field(init=False, repr=False)


@dataclass(frozen=True, slots=True)
class ContainsAny(_Many):
    """The field is a list with at least one of the literals."""

    words: ClassVar[str] = "contains any"
    operator: ClassVar[str] = "$contains_any"
    path: Path
    values: tuple[Scalar, ...]
    kinds: tuple[Kind, ...] = field(init=False, repr=False)


@dataclass(frozen=True, slots=True)
class ContainsAll(_Many):
    """The field is a list with all of the literals."""

    words: ClassVar[str] = "contains all"
    operator: ClassVar[str] = "$contains_all"
    path: Path
    values: tuple[Scalar, ...]
    kinds: tuple[Kind, ...] = field(init=False, repr=False)


@dataclass(frozen=True, slots=True)
class Contains(_Leaf):
    """The field is a list with the literal."""

    path: Path
    value: Scalar
    kind: Kind = field(init=False, repr=False)

    def __post_init__(self) -> None:
        value = literal(self.value)
        _set(self, path=checked_path(self.path), value=value, kind=kind_of(value))

    def __str__(self) -> str:
        return f"{sql_path(self.path)} contains {literal_sql(self.value)}"


@dataclass(frozen=True, slots=True)
class Like(_Leaf):
    """The field is a str that matches an SQL pattern."""

    path: Path
    pattern: str
    ignore_case: bool = False

    def __post_init__(self) -> None:
        _set(self, path=checked_path(self.path), pattern=check_like(self.pattern))

    def __str__(self) -> str:
        return f"{sql_path(self.path)} {'ilike' if self.ignore_case else 'like'} {literal_sql(self.pattern)}"


@dataclass(frozen=True, slots=True)
class Regex(_Leaf):
    """The field is a str in which an RE2 expression is found."""

    path: Path
    pattern: str

    def __post_init__(self) -> None:
        _set(self, path=checked_path(self.path), pattern=check_regex(self.pattern))

    def __str__(self) -> str:
        return f"{sql_path(self.path)} regexp {literal_sql(self.pattern)}"


@dataclass(frozen=True, slots=True)
class IsNull(_Leaf):
    """The field is null or missing."""

    path: Path

    def __post_init__(self) -> None:
        _set(self, path=checked_path(self.path))

    def __str__(self) -> str:
        return f"{sql_path(self.path)} is null"


@dataclass(frozen=True, slots=True)
class Exists(_Leaf):
    """The key is present."""

    path: Path

    def __post_init__(self) -> None:
        _set(self, path=checked_path(self.path))

    def __str__(self) -> str:
        return f"exists({sql_path(self.path)})"


class _Group:
    """Two or more nodes; a group inside a group of the same class is merged into it."""

    __slots__ = ()
    word: ClassVar[str]
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        flat: list[Node] = []
        for node in self.nodes:
            if type(node) is type(self):
                flat.extend(node.nodes)
            elif isinstance(node, Node):
                flat.append(node)
            else:
                raise InvalidFilter(f"{shorten(node)} is not a filter node")
        if len(flat) < 2:
            raise InvalidFilter(f"`{self.word}` joins two or more conditions, got {len(flat)}")
        depth, size = 1 + max(node.depth for node in flat), 1 + sum(node.size for node in flat)
        _check_limits(depth, size)
        _set(self, nodes=tuple(flat), depth=depth, size=size)

    def __str__(self) -> str:
        return f" {self.word} ".join(map(_operand, self.nodes))


@dataclass(frozen=True, slots=True)
class And(_Group):
    """Every node holds."""

    word: ClassVar[str] = "and"
    nodes: tuple[Node, ...]
    depth: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Or(_Group):
    """At least one node holds."""

    word: ClassVar[str] = "or"
    nodes: tuple[Node, ...]
    depth: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """The node does not hold."""

    node: Node
    depth: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.node, Node):
            raise InvalidFilter(f"{shorten(self.node)} is not a filter node")
        depth, size = 1 + self.node.depth, 1 + self.node.size
        _check_limits(depth, size)
        _set(self, depth=depth, size=size)

    def __str__(self) -> str:
        if isinstance(self.node, IsNull):
            return f"{sql_path(self.node.path)} is not null"
        return f"not {_operand(self.node)}"


Leaf = Compare | Between | In | NotIn | Contains | ContainsAny | ContainsAll | Like | Regex | IsNull | Exists
Node = Leaf | And | Or | Not


def all_of(nodes: Iterable[Node]) -> Node:
    """Return the conjunction of one or more nodes."""
    group = tuple(nodes)
    return group[0] if len(group) == 1 else And(group)


def any_of(nodes: Iterable[Node]) -> Node:
    """Return the disjunction of one or more nodes."""
    group = tuple(nodes)
    return group[0] if len(group) == 1 else Or(group)


def fields(node: Node) -> frozenset[Path]:
    """Return the paths of all fields that the filter reads."""
    match node:
        case And(nodes) | Or(nodes):
            return frozenset().union(*map(fields, nodes))
        case Not(inner):
            return fields(inner)
        case _:
            return frozenset((node.path,))


def to_dict(node: Node) -> dict[str, object]:
    """Return the filter as a Mongo-style dict that JSON can carry and `parse_filter` reads."""
    match node:
        case And(nodes):
            return {"$and": [to_dict(each) for each in nodes]}
        case Or(nodes):
            return {"$or": [to_dict(each) for each in nodes]}
        case Not(inner):
            return {"$not": to_dict(inner)}
        case _:
            return {format_path(node.path): _condition(node)}


def _condition(node: Leaf) -> dict[str, object]:
    match node:
        case Compare(_, op, value):
            return {_MONGO[op]: literal_json(value)}
        case Between(_, low, high):
            return {"$between": [literal_json(low), literal_json(high)]}
        case Contains(_, value):
            return {"$contains": literal_json(value)}
        case In() | NotIn() | ContainsAny() | ContainsAll():
            return {node.operator: list(map(literal_json, node.values))}
        case Like(_, pattern, ignore_case):
            return {"$ilike" if ignore_case else "$like": pattern}
        case Regex(_, pattern):
            return {"$regex": pattern}
        case IsNull():
            return {"$null": True}
        case Exists():
            return {"$exists": True}


def _operand(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)


def _check_limits(depth: int, size: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"the filter is nested deeper than {MAX_DEPTH} levels; flatten it, or use `in`")
    if size > MAX_NODES:
        raise InvalidFilter(f"the filter has more than {MAX_NODES} conditions; use `in` for alternatives")
