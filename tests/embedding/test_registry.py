"""Names, stored identities and things that are no embedders."""

from __future__ import annotations

import numpy as np
import pytest

from vicinal.embedding import FunctionEmbedder, register, registered, resolve
from vicinal.embedding.registry import _registry
from vicinal.errors import AlreadyExists, InvalidInput, NotFound


class Constant:
    modality = "text"

    def __init__(self, argument=""):
        self.identity = f"constant:{argument}"
        self.dim = 2

    def embed_documents(self, texts):
        return np.ones((len(texts), 2), dtype=np.float32)

    def embed_query(self, text):
        return np.ones(2, dtype=np.float32)


@pytest.fixture(autouse=True)
def _restored_registry(monkeypatch):
    monkeypatch.setattr(_registry, "factories", dict(_registry.factories))
    monkeypatch.setattr(_registry, "embedders", {})


def test_a_name_gives_one_shared_embedder():
    register("constant", Constant)
    assert resolve("constant") is resolve("constant")
    assert resolve("constant").identity == "constant:"
    assert resolve("constant:large:v2").identity == "constant:large:v2"


def test_an_instance_and_its_lazy_dimension_are_left_alone():
    class Lazy(Constant):
        identity = "lazy"

        def __init__(self):
            pass

        @property
        def dim(self):
            raise AssertionError

    embedder = Lazy()
    assert resolve(embedder) is embedder


def test_replacing_needs_to_be_said():
    register("constant", Constant)
    first = resolve("constant")
    with pytest.raises(AlreadyExists, match="replace=True"):
        register("constant", Constant)
    register("constant", Constant, replace=True)
    assert resolve("constant") is not first


@pytest.mark.parametrize("name", ["", "a:b", "callable", "a\nb"])
def test_unusable_names_are_refused(name):
    with pytest.raises(InvalidInput):
        register(name, Constant)


def test_unknown_names_are_told_with_the_closest():
    assert "wordllama" in registered()
    with pytest.raises(NotFound, match=r"registered: .*wordllama; did you mean 'wordllama'"):
        resolve("wordlama")
    with pytest.raises(NotFound, match=r"registered: .*wordllama$"):
        resolve("zzz")


def test_a_function_cannot_be_found_by_its_identity():
    with pytest.raises(NotFound, match="open the collection with that function"):
        resolve("callable:app.embed")


def test_something_close_to_an_embedder_is_told_what_it_lacks():
    class Almost:
        def embed_documents(self, texts): ...

        def embed_query(self, text): ...

    with pytest.raises(InvalidInput, match="lacks identity, dim, modality"):
        resolve(Almost())


def test_a_model_is_told_to_pass_its_method():
    class Model:
        def encode(self, texts):
            return np.ones((len(texts), 4))

        def __call__(self):
            raise AssertionError

    with pytest.raises(InvalidInput, match=r"embedder=model\.encode"):
        resolve(Model())
    assert isinstance(resolve(Model().encode), FunctionEmbedder)


@pytest.mark.parametrize("spec", [None, 3, [1.0], Constant])
def test_anything_else_is_refused(spec):
    with pytest.raises(InvalidInput):
        resolve(spec)
