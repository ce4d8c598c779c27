"""Print every documented object of the standard library as one line of JSON.

This file is a script that imports nothing but the standard library: `corpus.py` runs it in an
isolated interpreter, because importing some three hundred modules leaves threads, signal handlers,
locale settings and memory behind that a program should not inherit.

Each object appears once, at its public home: the shortest public module that offers it, as in
`json.JSONDecoder` (not `json.decoder.JSONDecoder`) and `os.path.join` (not `posixpath.join`).
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import inspect
import io
import json
import pkgutil
import re
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

# They open a browser, print a poem, or hold tests, tables and whole applications.
UNSUITABLE = frozenset({"antigravity", "encodings", "ensurepip", "idlelib", "test", "this", "turtledemo"})
# Absent from current versions of Python, so that every version yields much the same corpus.
REMOVED = frozenset(
    {
        "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr",
        "imp", "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr",
        "spwd", "sunau", "telnetlib", "uu", "xdrlib",
    },
)  # fmt: skip
# Implementations whose documented home has another name.
HIDDEN = frozenset(
    {
        "genericpath", "nt", "ntpath", "nturl2path", "opcode", "posix", "posixpath", "pydoc_data",
        "sre_compile", "sre_constants", "sre_parse", "xml.dom.expatbuilder",
    },
)  # fmt: skip
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
FIELD_ALIAS = re.compile(r"Alias for field number \d+")


class Place(NamedTuple):
    """Where an object was found: the public module and the name it has there."""

    module: str
    name: str
    value: object

    @property
    def qualified(self) -> str:
        """The name a programmer would write; built-in names need no module."""
        return self.name if self.module == "builtins" else f"{self.module}.{self.name}"


def is_private(module: str) -> bool:
    """Tell whether a module is an implementation detail."""
    parts = module.split(".")
    return module in HIDDEN or parts[0] in HIDDEN or any(part.startswith("_") for part in parts)


def import_quietly(name: str) -> types.ModuleType | None:
    """Return the module, or None where this platform has none that can be imported."""
    try:
        return importlib.import_module(name)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException:  # noqa: BLE001 - modules of other platforms fail in many ways, SystemExit among them
        return None


def public_modules() -> Iterator[tuple[str, types.ModuleType]]:
    """Yield name and module for each public module of the standard library, packages before their parts."""
    for name in sorted(sys.stdlib_module_names):
        if name not in UNSUITABLE | REMOVED:
            yield from _module_and_parts(name)
    yield "os.path", importlib.import_module("os.path")


def _module_and_parts(name: str) -> Iterator[tuple[str, types.ModuleType]]:
    if is_private(name) or (module := import_quietly(name)) is None:
        return
    yield name, module
    for part in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if part.name not in {"test", "tests"}:
            yield from _module_and_parts(f"{name}.{part.name}")


def documentation(value: object) -> str:
    """Return an object's own documentation, cleaned; empty if it only inherits one.

    A class that documents nothing but how it is made is described by that.
    """
    raw = getattr(value, "__doc__", None)
    if isinstance(value, type):
        constructor = value.__dict__.get("__init__")
        raw = value.__dict__.get("__doc__")
        if not raw and isinstance(constructor, types.FunctionType):
            raw = constructor.__doc__
    if not isinstance(raw, str) or FIELD_ALIAS.fullmatch(raw):
        return ""
    return inspect.cleandoc(raw).strip()


def signature(value: object) -> str:
    """Return the call signature as text, or an empty string where Python knows none."""
    if isinstance(value, (types.ModuleType, property)):
        return ""
    try:
        return ADDRESS.sub("", str(inspect.signature(value)))  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError, NameError):
        return ""


def unwrap(value: Any) -> Any:  # noqa: ANN401 - any object of any module
    """Return the function behind a bound, static or class method, so that aliases compare equal."""
    if isinstance(value, (staticmethod, classmethod, types.MethodType)):
        return value.__func__
    return value


def is_home(module: types.ModuleType, name: str, value: object, *, listed: bool) -> bool:
    """Tell whether `module` may count as the home of the class or function it calls `name`."""
    if module is builtins:
        return True
    origin = getattr(value, "__module__", None)
    if origin is None:
        origin = getattr(getattr(value, "__self__", None), "__name__", module.__name__)
    if not isinstance(origin, str) or (not listed and getattr(value, "__name__", name) != name):
        return False
    if origin == module.__name__ or is_private(origin):
        return True
    return listed and origin.partition(".")[0] == module.__name__.partition(".")[0]


def places() -> Iterator[Place]:
    """Yield every public class and function wherever a public module offers it."""
    for module_name, module in public_modules():
        listed = getattr(module, "__all__", None)
        for name in sorted(set(listed or vars(module))):
            if not isinstance(name, str) or name.startswith("_"):
                continue
            with contextlib.suppress(Exception):  # a module's __getattr__ may run anything
                value = getattr(module, name)
                suitable = isinstance(value, type) or inspect.isroutine(value)
                if suitable and is_home(module, name, value, listed=listed is not None):
                    yield Place(module_name, name, value)


def homes() -> list[Place]:
    """Return each object once, at the shortest of its public places, sorted by qualified name."""
    best: dict[int, Place] = {}
    for place in places():
        key = id(unwrap(place.value))
        if key not in best or _rank(place) < _rank(best[key]):
            best[key] = place
    return sorted(best.values(), key=lambda place: place.qualified)


def _rank(place: Place) -> tuple[bool, int, int, str]:
    renamed = getattr(place.value, "__name__", place.name) != place.name
    return renamed, place.qualified.count("."), len(place.module), place.qualified


def members(place: Place) -> Iterator[tuple[str, str, object]]:
    """Yield kind, name and value of the public members that a class defines itself."""
    for name, value in vars(place.value).items():
        if name.startswith("_"):
            continue
        inner = unwrap(value)
        if inspect.isroutine(inner):
            yield "method", name, inner
        elif isinstance(value, property) or inspect.isdatadescriptor(value):
            yield "property", name, value


def record(kind: str, qualified: str, module: str, value: object) -> dict[str, object]:
    """Return what the corpus keeps of one object."""
    return {
        "kind": kind,
        "name": qualified,
        "module": module,
        "signature": signature(value),
        "doc": documentation(value),
    }


def records() -> Iterator[dict[str, object]]:
    """Yield one record per documented object; no name comes twice, no object under two names."""
    seen: set[str] = set()
    known: set[int] = set()
    for name, module in public_modules():
        if name not in seen and documentation(module):
            seen.add(name)
            yield record("module", name, name, module)
    found = homes()
    known.update(id(unwrap(place.value)) for place in found)
    for place in found:
        kind = "class" if isinstance(place.value, type) else "function"
        if place.qualified not in seen and documentation(place.value):
            seen.add(place.qualified)
            yield record(kind, place.qualified, place.module, place.value)
        if kind == "class":
            for kind_of_member, name, value in members(place):
                qualified = f"{place.qualified}.{name}"
                if qualified in seen or id(value) in known or not documentation(value):
                    continue
                seen.add(qualified)
                known.add(id(value))
                yield record(kind_of_member, qualified, place.module, value)


def main(output: TextIO) -> None:
    """Write all records to `output`, while whatever the modules print is swallowed."""
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        output.writelines(json.dumps(line) + "\n" for line in records())


if __name__ == "__main__":
    main(sys.stdout)
