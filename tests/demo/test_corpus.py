"""The corpus of the demo, from this very interpreter."""

from __future__ import annotations

import json
import sys

import pytest

from vicinal.demo import corpus
from vicinal.demo.corpus import document_text, parameter_names, split_name, standard_library_items, summary
from vicinal.errors import VicinalError


@pytest.fixture(scope="module")
def items():
    return {item.id: item for item in standard_library_items()}


def test_ids_are_unique(items):
    ids = [item.id for item in standard_library_items()]
    assert len(ids) == len(set(ids)) == len(items)


def test_it_is_large_enough_to_search(items):
    assert len(items) > 5000


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("json.dumps", "function", "json"),
        ("json.JSONDecoder", "class", "json"),
        ("collections.Counter", "class", "collections"),
        ("collections.Counter.most_common", "method", "collections"),
        ("collections.OrderedDict", "class", "collections"),
        ("pathlib.Path.glob", "method", "pathlib"),
        ("itertools.groupby", "class", "itertools"),
        ("os.path.join", "function", "os.path"),
        ("os.getcwd", "function", "os"),
        ("open", "function", "builtins"),
        ("str.split", "method", "builtins"),
        ("random.choice", "function", "random"),
        ("asyncio.run", "function", "asyncio"),
        ("gzip", "module", "gzip"),
        ("xml.dom.minidom", "module", "xml.dom.minidom"),
    ],
)
def test_known_objects_are_at_their_public_home(items, name, kind, module):
    assert items[name].metadata["kind"] == kind
    assert items[name].metadata["module"] == module
    assert items[name].metadata["name"] == name


@pytest.mark.parametrize(
    "name",
    [
        "posixpath.join",
        "json.decoder.JSONDecoder",
        "json.encoder.JSONEncoder",
        "builtins.open",
        "this",
        "test.support",
    ],
)
def test_other_addresses_of_an_object_are_left_out(items, name):
    assert name not in items


def test_inherited_methods_are_not_repeated(items):
    assert "collections.OrderedDict.get" not in items
    assert "pathlib.PosixPath.glob" not in items


def test_metadata_is_complete(items):
    keys = {"module", "package", "kind", "name", "signature", "lines"}
    for item in items.values():
        assert set(item.metadata) == keys
        assert item.metadata["kind"] in {"module", "class", "function", "method", "property"}
        assert item.metadata["lines"] >= 1
        assert " at 0x" not in item.metadata["signature"]
    assert items["os.path.join"].metadata["package"] == "os"
    assert items["collections.Counter"].metadata["signature"] == "(iterable=None, /, **kwds)"


def test_documents_fit_an_embedder(items):
    for item in items.values():
        assert item.document.startswith(item.id)
        assert item.document.count("\n") == 1
        assert len(item.document) < 1000
        json.dumps(item.document)


def test_this_process_is_left_alone(items):
    assert "turtle" not in sys.modules
    assert "antigravity" not in sys.modules


def test_document_text():
    text = document_text(
        "textwrap.TextWrapper.fill", "(self, text: str, width=70)", "fill(text) -> str\n\nReflow it well."
    )
    assert text == "textwrap.TextWrapper.fill(text, width)\ntextwrap Text Wrapper fill: Reflow it well."


def test_names_are_split_into_words():
    assert split_name("xml.etree.ElementTree.parse_all") == "xml etree Element Tree parse all"


def test_parameters_are_names_alone():
    signature = "(self, a, *args, sep=', ', key: dict[str, int] = (1, 2), obj=<object object>, **kwargs) -> list[x]"
    assert parameter_names(signature) == ["a", "sep", "key", "obj"]
    assert parameter_names("") == []


def test_summary_is_the_first_paragraph_that_says_something():
    assert summary("Do one\nthing.\n\nMore.") == "Do one thing."
    assert summary("S.strip(chars) -> str\n\nRemove the ends of a string.") == "Remove the ends of a string."
    assert summary("f(x)") == "f(x)"
    assert len(summary("word " * 500)) == 300


def test_a_collector_that_says_nothing_is_an_error(monkeypatch, tmp_path):
    broken = tmp_path / "collector.py"
    broken.write_text("raise SystemExit('no library')")
    monkeypatch.setattr(corpus, "COLLECTOR", broken)
    with pytest.raises(VicinalError, match="no library"):
        list(standard_library_items())


def test_a_collector_that_dies_keeps_whole_lines(monkeypatch, tmp_path):
    record = json.dumps(
        {"name": "m.f", "signature": "()", "doc": "Do it well, please.", "module": "m", "kind": "function"}
    )
    broken = tmp_path / "collector.py"
    broken.write_text(f"import os, sys; print({record + chr(10) + record[:20]!r}, end='', flush=True); os.abort()")
    monkeypatch.setattr(corpus, "COLLECTOR", broken)
    assert [item.id for item in standard_library_items()] == ["m.f"]
