"""The real model, as the package brings it, without a network."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vicinal.embedding import embed_in_batches, resolve
from vicinal.embedding.wordllama import WordLlamaEmbedder
from vicinal.errors import InvalidInput, MissingExtra, SpecMismatch

pytest.importorskip("wordllama")

PAINT = "This emulsion for interior walls is dry within an hour."
SENTENCES = [
    PAINT,
    "The cat sleeps on the warm windowsill.",
    "Stock markets fell sharply after the central bank raised interest rates.",
    "Boil the pasta for nine minutes and keep a cup of the water.",
    "The museum of modern art opens at ten o'clock.",
]


@pytest.fixture(scope="module")
def embedder():
    return WordLlamaEmbedder()


def nearest(embedder, query):
    return SENTENCES[int(np.argmax(embedder.embed_documents(SENTENCES) @ embedder.embed_query(query)))]


def test_shape_type_and_length(embedder):
    vectors = embedder.embed_documents(SENTENCES)
    assert vectors.shape == (5, 256)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert embedder.embed_query("wall paint").shape == (256,)
    assert embedder.dim == 256


def test_no_documents_are_no_rows(embedder):
    assert embedder.embed_documents([]).shape == (0, 256)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("wall paint that dries fast", 0),
        ("WALL PAINT THAT DRIES FAST", 0),
        ("where does the kitten lie", 1),
        ("Shares Lose Value As Borrowing Gets Dearer", 2),
        ("how to cook spaghetti", 3),
        ("GALLERY OPENING HOURS", 4),
    ],
)
def test_meaning_is_near(embedder, query, expected):
    assert nearest(embedder, query) == SENTENCES[expected]


def test_case_does_not_matter(embedder):
    np.testing.assert_array_equal(embedder.embed_query(PAINT.upper()), embedder.embed_query(PAINT))


def test_a_vector_does_not_depend_on_its_batch(embedder):
    texts = [f"{sentence} {'and so on ' * n}" for n, sentence in enumerate(SENTENCES * 5)]
    together = embedder.embed_documents(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(embedder.embed_query(text), vector)
    np.testing.assert_array_equal(embed_in_batches(embedder, texts, batch_size=7), together)


def test_more_texts_than_one_call_of_the_tokenizer(embedder):
    texts = [f"number {n}" for n in range(2500)]
    vectors = embedder.embed_documents(texts)
    np.testing.assert_array_equal(vectors[2400], embedder.embed_query("number 2400"))


def test_two_instances_agree(embedder):
    np.testing.assert_array_equal(WordLlamaEmbedder().embed_query(PAINT), embedder.embed_query(PAINT))


def test_threads_agree(embedder):
    expected = embedder.embed_documents(SENTENCES)
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: embedder.embed_documents(SENTENCES), range(40)):
            np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u2003"])
def test_empty_documents_are_refused_with_their_position(embedder, text):
    with pytest.raises(InvalidInput, match="document 2 is empty"):
        embedder.embed_documents(["one", "two", text])
    with pytest.raises(InvalidInput, match="the query is empty"):
        embedder.embed_query(text)


def test_broken_unicode_is_refused(embedder):
    with pytest.raises(InvalidInput, match="document 1 is not valid Unicode at character 3"):
        embedder.embed_documents(["fine", "abc\ud800"])


@pytest.mark.parametrize("text", ["日本語のテキスト", "👍", "\x00", "1234", "—", "\u200b", "İstanbul"])
def test_unusual_text_has_a_vector(embedder, text):
    assert np.linalg.norm(embedder.embed_query(text)) == pytest.approx(1.0, rel=1e-5)


def test_a_text_longer_than_the_vocabulary_is_averaged_whole(embedder):
    short, long = "walls and paint ", "walls and paint " * 20_000
    similarity = float(embedder.embed_query(short) @ embedder.embed_query(long))
    assert similarity > 0.98


def test_identity_names_model_treatment_and_release(embedder):
    assert embedder.identity.startswith("wordllama:l2_supercat_256+lower@")
    assert resolve(embedder.identity).identity == embedder.identity


def test_another_release_is_another_space():
    with pytest.raises(SpecMismatch, match=r"@9\.9.*installed package gives 'wordllama:"):
        resolve("wordllama:l2_supercat_256+lower@9.9")


def test_missing_package_gives_the_install_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r'pip install "vicinal\[embed\]"'):
        WordLlamaEmbedder()


def test_loading_is_quiet_and_leaves_logging_alone():
    code = (
        "import logging, sys\n"
        "from vicinal.embedding import resolve\n"
        "embedder = resolve('wordllama')\n"
        "assert 'wordllama' not in sys.modules\n"
        "embedder.embed_documents(['a wall', 'a door'])\n"
        "assert logging.root.handlers == [] and logging.root.level == logging.WARNING\n"
    )
    # A proxy where nobody listens: any download would fail.
    environment = {
        "PYTHONPATH": ":".join(sys.path),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HOME": "/nonexistent",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
