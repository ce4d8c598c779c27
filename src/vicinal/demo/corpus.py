"""The demo's corpus: the documentation of the standard library of the running interpreter.

A document is what a search should match, in two lines:

    os.path.join(a, p)
    os path join: Join two or more pathname components, inserting '/' as needed.

The name is written twice because an embedding model knows words, not dotted names; the first paragraph
is enough because an average over a long text says little. Over forty questions of a Python programmer,
this form put an expected answer among the first five 36 times by vectors alone, the whole signature and
docstring 27 times.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vicinal.errors import VicinalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Item", "document_text", "split_name", "standard_library_items"]

COLLECTOR = Path(__file__).with_name("collector.py")
TIMEOUT_SECONDS = 60
MAX_PARAMETERS = 4
MAX_SUMMARY = 300
MIN_SUMMARY = 15
# Names that every signature has and that say nothing.
IDLE_PARAMETERS = frozenset({"self", "cls", "args", "kwargs", "kwds", "kw"})

_CAMEL_CASE = re.compile(r"([a-z0-9])([A-Z])")
_SEPARATORS = re.compile(r"[._]+")
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_DEFAULT = re.compile(r"\s*=\s*('[^']*'|\"[^\"]*\"|<[^>]*>|\([^)]*\)|[^,)]*)")
_ANNOTATION = re.compile(r":[^,]*")
_IDENTIFIER = re.compile(r"[A-Za-z]\w*")
# Built-in functions often open with "S.join(iterable) -> str".
_SIGNATURE_LINE = re.compile(r"[\w.]+\([^)]*\)( -> [\w.\[\], ]+)?[\s:.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row of the corpus: a module, class, function, method or property of the standard library."""

    id: str
    document: str
    metadata: dict[str, str | int]


def standard_library_items() -> Iterator[Item]:
    """Yield an item for each documented object of the standard library, in about a second.

    Ids are qualified names and unique. The objects are imported in an isolated interpreter, which
    leaves this process as it was; if a module brings that interpreter down, what came before it counts.
    """
    command = [sys.executable, "-I", "-S", "-W", "ignore", str(COLLECTOR)]
    try:
        done = subprocess.run(  # noqa: S603 - our own script, by the interpreter that runs us
            command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"cannot read the standard library's documentation: {error}"
        raise VicinalError(message) from error
    lines = [line for line in done.stdout.splitlines(keepends=True) if line.endswith(b"\n")]
    if not lines:
        reason = done.stderr.decode(errors="replace")[-500:]
        message = f"cannot read the standard library's documentation: exit {done.returncode} {reason}"
        raise VicinalError(message)
    for line in lines:
        yield _item(json.loads(line))


def _item(record: Mapping[str, str]) -> Item:
    return Item(
        id=record["name"],
        document=document_text(record["name"], record["signature"], record["doc"]),
        metadata={
            "module": record["module"],
            "package": record["module"].partition(".")[0],
            "kind": record["kind"],
            "name": record["name"],
            "signature": record["signature"],
            "lines": record["doc"].count("\n") + 1,
        },
    )


def document_text(name: str, signature: str, doc: str) -> str:
    """Return the text to embed and to index for one object.

    >>> print(document_text("os.path.join", "(a, *p)", "Join two or more pathname components."))
    os.path.join(a, p)
    os path join: Join two or more pathname components.
    """
    parameters = parameter_names(signature)[:MAX_PARAMETERS]
    call = f"({', '.join(parameters)})" if parameters else ""
    return f"{name}{call}\n{split_name(name)}: {summary(doc)}"


def split_name(name: str) -> str:
    """Return the words of a qualified name.

    >>> split_name("http.client.HTTPConnection.set_tunnel")
    'http client HTTPConnection set tunnel'
    >>> split_name("threading.BoundedSemaphore")
    'threading Bounded Semaphore'
    """
    return _SEPARATORS.sub(" ", _CAMEL_CASE.sub(r"\1 \2", name)).strip()


def parameter_names(signature: str) -> list[str]:
    """Return the telling names in a signature.

    >>> parameter_names("(self, text: str, *, sep='-', **kwargs) -> str")
    ['text', 'sep']
    """
    flat = signature.partition("->")[0]
    while _BRACKETS.search(flat):
        flat = _BRACKETS.sub("", flat)
    bare = _ANNOTATION.sub("", _DEFAULT.sub("", flat))
    return [name for name in _IDENTIFIER.findall(bare) if name not in IDLE_PARAMETERS]


def summary(doc: str) -> str:
    """Return the first paragraph that says something, on one line and of limited length."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in doc.split("\n\n")]
    first = _SIGNATURE_LINE.sub("", paragraphs[0], count=1)
    if first != paragraphs[0] and len(first) < MIN_SUMMARY:
        first = paragraphs[1] if len(paragraphs) > 1 else paragraphs[0]
    return first[:MAX_SUMMARY]
