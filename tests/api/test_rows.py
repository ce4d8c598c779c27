"""Rows as columns, dicts and tables; a call that is refused stores nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from vicinal.errors import InvalidInput, InvalidMetadata, InvalidVector

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
ROWS = [
    {"id": "a", "vector": [1.0, 2.0], "document": "first", "n": 1, "at": NOON, "tags": ["x", "y"]},
    {"id": "b", "vector": [3.0, 4.0], "document": None, "n": 2},
]
TABLES = {
    "dicts": ROWS,
    "tuple": tuple(ROWS),
    "generator": None,
    "metadata apart": [{**row, "metadata": {"n": row["n"]}} for row in ROWS],
    "pandas": pd.DataFrame(ROWS),
    "pandas, other index": pd.DataFrame(ROWS, index=[7, 9]),
    "arrow": pa.Table.from_pylist(ROWS),
    "polars": pl.DataFrame(ROWS),
    "arrow, fixed lists": pa.Table.from_pylist(ROWS).set_column(
        1, "vector", pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2)
    ),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("verb", ["add", "upsert"])
def test_rows_in_every_shape_are_the_same_rows(docs, kind, verb) -> None:
    given = (row for row in ROWS) if kind == "generator" else TABLES[kind]
    assert getattr(docs, verb)(given) == ["a", "b"]
    assert docs.get().to_dicts() == [
        {"id": "a", "document": "first", "metadata": {"n": 1, "at": NOON, "tags": ["x", "y"]}},
        {"id": "b", "document": None, "metadata": {"n": 2}},
    ]
    assert docs["b"].vector.tolist() == [3, 4]


VECTORS = [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "vectors",
    [
        VECTORS,
        np.array(VECTORS, ">f8"),
        np.array(VECTORS, np.float16)[::1].T.copy().T,
        [np.array(vector) for vector in VECTORS],
        [np.array(vector, "<f4").tobytes() for vector in VECTORS],
        pd.Series(VECTORS, index=[5, 6]),
        pd.DataFrame(VECTORS),
        pl.Series(VECTORS),
        tuple(map(tuple, VECTORS)),
    ],
    ids=["lists", "big-endian", "f16", "arrays", "bytes", "series", "frame", "polars", "tuples"],
)
def test_vectors_in_every_shape_are_the_same_vectors(docs, vectors) -> None:
    docs.add(ids=["a", "b"], vectors=vectors)
    assert [docs[identity].vector.tolist() for identity in "ab"] == VECTORS


def test_the_arrays_of_the_caller_are_left_alone_and_ours_are_ours(docs) -> None:
    given = np.array(VECTORS, np.float32)
    docs.add(ids=["a", "b"], vectors=given)
    given[:] = 9
    found = docs["a"].vector
    found[:] = 7
    assert docs["a"].vector.tolist() == [1, 2]


BAD = {
    "nothing": ({}, "nothing to store|need vectors"),
    "no vectors": ({"ids": ["x"]}, "need vectors="),
    "lengths": ({"ids": ["x"], "vectors": VECTORS}, "different lengths: ids 1, vectors 2"),
    "documents too few": ({"documents": ["x"], "vectors": VECTORS}, "documents 1, vectors 2"),
    "dimension": ({"vectors": [[1, 2, 3]]}, "expected 2, got 3"),
    "ragged": ({"vectors": [[1, 2], [3]]}, "row 1: expected 2 dimensions, got 1"),
    "nan": ({"vectors": [[1, 2], [3, float("nan")]]}, "row 1, column 1: nan"),
    "infinity": ({"vectors": [[float("inf"), 2]]}, "row 0, column 0: inf"),
    "overflow": ({"vectors": [[1e39, 2]]}, "too large for f32"),
    "text in vector": ({"vectors": [[1, "x"]]}, "column 1: 'x' is not a real number"),
    "complex": ({"vectors": [[1j, 2]]}, "real number"),
    "two vectors as bytes": ({"ids": ["x"], "vectors": np.zeros(4, "f4").tobytes()}, "2 vectors .* 1 were expected"),
    "two vectors as JSON": ({"ids": ["x"], "vectors": "[[1,2],[3,4]]"}, "2 vectors .* 1 were expected"),
    "one number": ({"vectors": 5.0}, "array of shape"),
    "no dimension": ({"vectors": np.array(5.0)}, "array of shape"),
    "unknown field": ({"vectors": {"other": VECTORS}}, "no vector field 'other'; there are: 'vector'"),
    "document": ({"vectors": [[1, 2]], "documents": [5]}, r"documents\[0\] is text, not int"),
    "surrogate": ({"vectors": [[1, 2]], "documents": ["\ud800"]}, "lone surrogate"),
    "documents as text": ({"vectors": VECTORS, "documents": "ab"}, "documents is a list"),
    "negative ttl": ({"vectors": [[1, 2]], "ttl": -1}, "ttl is a number of seconds"),
    "ttl of text": ({"vectors": [[1, 2]], "ttl": "1h"}, "ttl is a number of seconds"),
    "naive expiry": ({"vectors": [[1, 2]], "expires": NOON.replace(tzinfo=None)}, "no time zone"),
    "both": ({"vectors": [[1, 2]], "expires": NOON, "ttl": 1}, "not both"),
    "ttl per row": ({"vectors": VECTORS, "ttl": [1]}, "1 times to expire for 2 rows"),
    "rows and columns": ({"rows": ROWS, "vectors": np.array(VECTORS)}, "rows, or columns by keyword"),
    "rows as dict": ({"rows": {"id": ["a"]}}, "rows is a list of dicts"),
    "rows as text": ({"rows": "ab"}, "rows is a list of dicts or a table"),
    "a row that is none": ({"rows": [ROWS[0], 5]}, r"rows\[1\] is a dict"),
    "some ids": ({"rows": [ROWS[0], {"vector": [1, 2]}]}, r"rows\[1\] has no id"),
    "metadata of a row": ({"rows": [{**ROWS[0], "metadata": "x"}]}, r"rows\[0\]: metadata is a dict"),
    "metadata as text in a table": (
        {"rows": pd.DataFrame({"vector": VECTORS, "metadata": ['{"a":1}', "{}"]})},
        "column 'metadata' holds dicts",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("verb", ["add", "upsert"])
def test_a_call_that_is_refused_stores_nothing(three, case, verb) -> None:
    given, says = BAD[case]
    before = three.info(), three.get().to_dicts()
    with pytest.raises(InvalidInput, match=says):
        getattr(three, verb)(**given)
    assert (three.info(), three.get().to_dicts()) == before


def test_the_last_row_of_a_large_batch_decides_about_all(db, docs) -> None:
    docs.add(ids=["taken"], vectors=[[0, 0]])
    before = docs.info()
    for metadata, ids, error in (
        ([{}] * 4999 + [{"k": b""}], range(5000), InvalidMetadata),
        (None, [*map(str, range(4999)), "taken"], Exception),
    ):
        with pytest.raises(error):
            docs.add(ids=list(ids), vectors=np.zeros((5000, 2)), metadata=metadata)
    assert docs.info() == before
    assert db.verify().ok


def test_missing_cells_of_tables_are_no_metadata_and_no_expiry(docs) -> None:
    frame = pd.DataFrame(
        {
            "id": ["a", "b"],
            "vector": VECTORS,
            "x": [1.5, None],
            "when": pd.to_datetime(["2024-01-01", None], utc=True),
            "expires": pd.to_datetime(["2100-01-01", None], utc=True),
        }
    )
    docs.add(frame)
    assert docs["a"].metadata == {"x": 1.5, "when": datetime(2024, 1, 1, tzinfo=UTC)}
    assert docs["b"].metadata == {}


@pytest.mark.parametrize(
    ("spec", "bad", "says"),
    [
        ({"metric": "cosine"}, [[0, 0]], "row 0: a zero vector has no direction"),
        ({"dtype": "f16"}, [[70_000, 0]], "too large for f16"),
        ({"dtype": "i8", "metric": "l2"}, np.array([[128, 0]]), "outside -128..127"),
        ({"dtype": "i8", "metric": "l2"}, [[0.5, 0.5]], 'quantize="unit"'),
    ],
)
def test_each_type_refuses_what_it_cannot_hold(db, spec, bad, says) -> None:
    docs = db.collection("typed", dim=2, **spec)
    with pytest.raises(InvalidVector, match=says):
        docs.add(vectors=bad)
    assert len(docs) == 0
