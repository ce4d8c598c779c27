"""Texts are cut where a reader would cut them, and nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vicinal.exchange.passages import TARGET_CHARACTERS, passages


def titles(text):
    return [passage.title for passage in passages(text)]


def test_headings_of_both_languages():
    assert titles("intro\n\n# One #\n\na\n\n## Two\n\nb\n") == ["", "One", "Two"]
    assert titles("Title\n=====\n\na\n\nPart\n----\n\nb\n") == ["Title", "Part"]


def test_what_looks_like_a_heading_in_code_or_a_table_is_none():
    assert titles("```\n# not\n```\n") == [""]
    assert titles("- a list\n- of things\n\n---\n\nafter\n") == [""]
    assert titles("| a | b |\n|---|---|\n| 1 | 2 |\n") == [""]


def test_short_paragraphs_share_a_passage():
    assert len(passages("\n\n".join(["word " * 20] * 10))) == 2


def test_long_paragraph_is_cut_after_a_sentence():
    found = passages("A sentence of some length. " * 200)
    assert all(passage.text.endswith(".") for passage in found)
    assert max(len(passage.text) for passage in found) <= TARGET_CHARACTERS * 3 // 2


def test_text_without_a_space_is_cut_too():
    assert max(len(passage.text) for passage in passages("x" * 10_000)) <= TARGET_CHARACTERS * 3 // 2


@given(st.text(alphabet=st.sampled_from("ab .!?#=-\n`"), max_size=400), st.integers(4, 60))
def test_nothing_is_lost(text, target):
    joined = "".join(passage.text for passage in passages(text, target))
    assert "".join(joined.split()) == "".join(text.split())
