"""Embedders by name."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable
from typing import TypeAlias, cast

from vicinal.embedding.function import EmbeddingFunction, FunctionEmbedder
from vicinal.embedding.protocol import Embedder
from vicinal.errors import AlreadyExists, InvalidInput, NotFound, shorten

__all__ = ["EmbedderFactory", "EmbedderSpec", "register", "registered", "resolve"]

EmbedderFactory: TypeAlias = Callable[[str], Embedder]
EmbedderSpec: TypeAlias = str | Embedder | EmbeddingFunction

MEMBERS = ("identity", "dim", "modality", "embed_documents", "embed_query")


class _Registry:
    """Factories, and one embedder per specification that was asked for."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.factories: dict[str, EmbedderFactory] = {}
        self.embedders: dict[str, Embedder] = {}


_registry = _Registry()


def register(name: str, factory: EmbedderFactory, *, replace: bool = False) -> None:
    """Make `embedder=name` and `embedder="name:argument"` work.

    The factory gets what follows the colon, or an empty string, and is called once per argument. So that
    a collection can find its embedder again, it should accept what follows `name:` in the identity it gives.
    """
    if not name or not name.isprintable() or ":" in name or name == "callable":
        message = f"cannot register an embedder as {shorten(name)}: use a short name without a colon"
        raise InvalidInput(message)
    with _registry.lock:
        if name in _registry.factories and not replace:
            message = f"an embedder {shorten(name)} is registered already; pass replace=True to replace it"
            raise AlreadyExists(message)
        _registry.factories[name] = factory
        for spec in [spec for spec in _registry.embedders if spec.partition(":")[0] == name]:
            del _registry.embedders[spec]


def registered() -> list[str]:
    """Return the names that `resolve` knows, sorted.

    >>> "wordllama" in registered()
    True
    """
    with _registry.lock:
        return sorted(_registry.factories)


def resolve(spec: EmbedderSpec) -> Embedder:
    """Return the embedder that a name, a stored identity, a function or an instance stands for.

    Raises NotFound for an unknown name, MissingExtra where a package is not installed, SpecMismatch where
    an identity is no longer what the installed model gives, and InvalidInput for anything else.
    """
    if isinstance(spec, str):
        return _by_name(spec)
    if isinstance(spec, type):
        message = f"expected an embedder, got the class {spec.__name__}; pass an instance"
        raise InvalidInput(message)
    if hasattr(spec, "embed_documents") or hasattr(spec, "embed_query"):
        # `hasattr` on the instance would compute `dim`, which may load a model.
        missing = [name for name in MEMBERS if not hasattr(type(spec), name) and name not in _attributes(spec)]
        if missing:
            message = f"{shorten(spec)} is not an embedder: it lacks {', '.join(missing)}"
            raise InvalidInput(message)
        return cast("Embedder", spec)
    if hasattr(spec, "encode"):
        message = f"{shorten(spec)} is a model, not an embedder; pass its method: embedder=model.encode"
        raise InvalidInput(message)
    if callable(spec):
        return FunctionEmbedder(spec)
    message = f"cannot embed with {shorten(spec)}: expected a name, a function or an embedder"
    raise InvalidInput(message)


def _attributes(value: object) -> dict[str, object]:
    return getattr(value, "__dict__", {})


def _by_name(spec: str) -> Embedder:
    name, _, argument = spec.partition(":")
    with _registry.lock:
        if spec in _registry.embedders:
            return _registry.embedders[spec]
        factory = _registry.factories.get(name)
        if factory is None:
            raise NotFound(_unknown(spec, name))
        embedder = factory(argument)
        _registry.embedders[spec] = embedder
        return embedder


def _unknown(spec: str, name: str) -> str:
    if name == "callable":
        return f"{shorten(spec)} was a function: open the collection with that function as embedder="
    known = registered()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no embedder {shorten(name)}; registered: {', '.join(known)}{hint}"


def _wordllama(argument: str) -> Embedder:
    from vicinal.embedding.wordllama import WordLlamaEmbedder  # noqa: PLC0415 - loaded by those who use it

    return WordLlamaEmbedder.from_argument(argument)


register("wordllama", _wordllama)
