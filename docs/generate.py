"""Write the reference pages that are made from the code: `python docs/generate.py`.

`docs/reference/api.md` comes from the signatures and docstrings of the public names, `errors.md` from
the tree of errors. A test compares the pages with what this writes.
"""  # noqa: INP001 - a script

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import vicinal
from vicinal import embedding, errors
from vicinal.backend import Capabilities
from vicinal.filters.expression import Field
from vicinal.request import INCLUDES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by `python docs/generate.py`. Do not edit. -->\n"
MAX_SIGNATURE = 96
_INLINE = re.compile(r"(?<=\.) (?=\w+(?:, \w+)*: )")
_NAMED = re.compile(r"^(\w+(?:, \w+)*): ")

INTRODUCTION = """\
# Python API

What `from vicinal import …` gives is public and listed here; everything else may change. Parameters after
`*` are given by name. Whatever is refused raises a subclass of `VicinalError`: see [Errors](errors.md).
What ids, metadata and vectors may be stands in [Values](values.md), how filters are written in
[Filters](filters.md), the same on the command line in [The command line](cli.md).

| name in signatures | stands for |
|---|---|
| `Id` | `int \\| str` |
| `Where` | a filter: SQL text, a dict, an `F` expression, or `None` |
| `Query` | a text, or a vector |
| `Include` | @@INCLUDE@@ |
| `EmbedderSpec` | a name, a function from a list of texts to vectors, or an `Embedder` |
| `Durability` | `"full"` or `"relaxed"` |
"""
EMBEDDING = """\
## vicinal.embedding

What a collection's `embedder=` may be; how to write one is told in
[Use your own embedder](../how-to/own-embedder.md).
"""


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {"api.md": api(), "errors.md": error_table()}


def api() -> str:
    """Return the page of the Python API."""
    included = ", ".join(f'`"{name}"`' for name in INCLUDES)
    parts = [NOTE, INTRODUCTION.replace("@@INCLUDE@@", included), _function("connect", vicinal.connect, level=2)]
    for kind in (vicinal.Database, vicinal.Transaction, vicinal.Collection):
        parts += _class(kind)
    parts.append("## Results\n")
    for kind in (vicinal.Hits, vicinal.Hit, vicinal.Rows, vicinal.Row, vicinal.BatchHits):
        parts += _class(kind, level=3)
    for kind in (vicinal.Explanation, vicinal.Report, Capabilities):
        parts += _class(kind, level=3)
    parts += ["## F\n", _prose(inspect.getdoc(type(vicinal.F)) or "")]
    parts.append(
        "A field compares with `==`, `!=`, `<`, `<=`, `>` and `>=`; conditions combine with `&`, `|` and `~`. "
        "A field has these methods:\n"
    )
    parts += [_function(name, member, level=3, bound=True) for name, member in _methods(Field)]
    parts.append(EMBEDDING)
    parts += _class(embedding.Embedder, level=3)
    parts += _class(embedding.FunctionEmbedder, level=3, made_by_callers=True)
    parts += [_function(name, getattr(embedding, name), level=3) for name in ("register", "registered", "resolve")]
    return "\n".join(parts)


def _class(kind: type, level: int = 2, *, made_by_callers: bool = False) -> Iterator[str]:
    yield f"{'#' * level} {kind.__name__}\n"
    if made_by_callers:
        signature = _signature(kind.__name__, kind, bound=False).removesuffix(" -> None")
        yield f"```text\n{signature}\n```\n"
    yield _prose(_own_doc(kind))
    columns = _columns(kind)
    if columns:
        yield "| attribute | type |\n|---|---|\n" + "".join(f"| `{name}` | `{of}` |\n" for name, of in columns)
    for name, member in _methods(kind):
        yield _function(name, member, level=level + 1, bound=True)


def _own_doc(kind: type) -> str:
    doc = inspect.getdoc(kind) or ""
    return "" if doc.startswith(f"{kind.__name__}(") else doc


def _columns(kind: type) -> list[tuple[str, str]]:
    """Return (name, type) of what a value has, inherited attributes included."""
    if not dataclasses.is_dataclass(kind):
        return []
    fields = [(entry.name, str(entry.type).replace("|", "\\|")) for entry in dataclasses.fields(kind)]
    return [(name, of) for name, of in fields if not name.startswith("_")]


def _methods(kind: type) -> Iterator[tuple[str, object]]:
    """Yield public methods and properties in the order in which they are written, inherited ones last."""
    seen = set()
    for owner in kind.__mro__:
        if owner.__module__.partition(".")[0] != "vicinal":
            continue
        for name, member in vars(owner).items():
            if name.startswith("_") or name in seen:
                continue
            if inspect.isfunction(member) or isinstance(member, property):
                seen.add(name)
                yield name, member


def _function(name: str, member: object, level: int, *, bound: bool = False) -> str:
    """Return the entry of a function, a method or a property."""
    heading = f"{'#' * level} {name}\n"
    if isinstance(member, property):
        function = member.fget
        of = inspect.signature(function).return_annotation if function else ""
        return f"{heading}\nproperty: `{of}`\n\n{_prose(inspect.getdoc(member) or '')}"
    signature = _signature(name, member, bound=bound)
    return f"{heading}\n```text\n{signature}\n```\n\n{_prose(inspect.getdoc(member) or '')}"


def _signature(name: str, member: object, *, bound: bool) -> str:
    signature = inspect.signature(member)  # type: ignore[arg-type]
    parameters = list(signature.parameters.values())[1 if bound else 0 :]
    shown: list[str] = []
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        shown.append(_parameter(parameter))
    n_unnamed = sum(parameter.kind is parameter.POSITIONAL_ONLY for parameter in parameters)
    if n_unnamed:
        shown.insert(n_unnamed, "/")
    of = "" if signature.return_annotation is signature.empty else f" -> {_type(signature.return_annotation)}"
    if hasattr(member, "__wrapped__"):  # made by contextlib.contextmanager
        of = of.replace("Iterator[", "AbstractContextManager[")
    line = f"{name}({', '.join(shown)}){of}"
    if len(line) <= MAX_SIGNATURE:
        return line
    body = "".join(f"    {part},\n" for part in shown)
    return f"{name}(\n{body}){of}"


def _parameter(parameter: inspect.Parameter) -> str:
    star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{star}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {_type(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        default = parameter.default
        text += f" = {default.__name__ if callable(default) else repr(default)}"
    return text


def _type(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _prose(doc: str) -> str:
    """Return a docstring as Markdown: examples fenced, lists of named things as bullets."""
    paragraphs = [_paragraph(text) for text in re.split(r"\n\s*\n", doc.strip()) if text.strip()]
    return "\n\n".join(paragraphs) + "\n" if paragraphs else ""


def _paragraph(text: str) -> str:
    if text.lstrip().startswith(">>>"):
        return f"```pycon\n{text}\n```"
    lines: list[str] = []
    listed = False
    for line in _INLINE.sub("\n", text).splitlines():
        if _NAMED.match(line):
            if lines and not listed:
                lines.append("")
            listed = True
            lines.append(_NAMED.sub(lambda found: f"- `{found[1].replace(', ', '`, `')}`: ", line))
        elif listed and not line.startswith(" "):
            lines += ["", line]
            listed = False
        else:
            lines.append(f"  {line.strip()}" if listed else line)
    return "\n".join(lines)


def error_table() -> str:
    """Return the page of errors: the tree, and what each class carries."""
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    rows = "".join(_error_row(kind) for kind in _errors())
    return f"""{NOTE}
# Errors

Everything that vicinal refuses raises a subclass of `VicinalError`, importable from `vicinal.errors`. A class
is also the built-in error in parentheses, so that `except ValueError` and the like work as usual. A call that
raises has changed nothing.

```text
{tree}
```

A message says what was wrong, with which value, and what to do. Its wording may change; `code` does not.
`status` is what a server answers with, `exit_code` what [the command line](cli.md) ends with.

| class | code | status | exit code | meaning |
|---|---|--:|--:|---|
{rows}
Messages of many wrong uses, as they come, stand in [Wrong uses](../wrong-uses.md).
"""


def _errors() -> Iterable[type[errors.VicinalError]]:
    found = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    return [kind for kind in found if issubclass(kind, errors.VicinalError)]


def _error_row(kind: type[errors.VicinalError]) -> str:
    meaning = (inspect.getdoc(kind) or "").splitlines()[0]
    return f"| `{kind.__name__}` | `{kind.code}` | {kind.status} | {kind.exit_code} | {meaning} |\n"


if __name__ == "__main__":
    for file_name, content in pages().items():
        (REFERENCE / file_name).write_text(content, encoding="utf-8")
