"""Every kind of file becomes the rows that it holds; what is not whole is refused by file and place."""

from __future__ import annotations

import gzip
import json
import zipfile
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vicinal.errors import InvalidInput, NotFound, VicinalError
from vicinal.exchange import ONLY, Columns, open_source

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def read(path, size=3, **options):
    """Return all rows as (id, document, metadata, vector)."""
    rows = []
    for batch in open_source(path, **options).batches(size):
        assert 0 < len(batch) <= size
        blank = [None] * len(batch)
        vectors = batch.vectors[ONLY] if batch.vectors else blank
        rows += zip(batch.ids or blank, batch.documents or blank, batch.metadata or blank, vectors, strict=True)
    return rows


def vectors_of(path, **options):
    return np.array([row[3] for row in read(path, **options)])


def write(path, text, **options):
    path.write_text(text, encoding="utf-8", **options)
    return path


# --- JSON lines


def test_jsonl_takes_conventional_names(tmp_path):
    path = write(
        tmp_path / "a.jsonl", '{"_id": "x", "text": "hello", "emb": [1, 2], "year": 2024, "metadata": {"a": 1}}\n'
    )
    assert read(path) == [("x", "hello", {"a": 1, "year": 2024}, [1, 2])]


def test_jsonl_takes_named_columns_and_joins_texts(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"key": 1, "title": "T", "body": "B", "n": 1, "m": 2}\n')
    columns = Columns(id="key", text=("title", "body"), metadata=("n", "title"))
    assert read(path, columns=columns) == [(1, "T\nB", {"n": 1, "title": "T"}, None)]


def test_jsonl_reads_dates_and_blank_lines(tmp_path):
    path = write(tmp_path / "a.jsonl", '\n{"id": 1, "when": {"$date": 1000000}}\n   \n{"id": 2}\n')
    assert [row[2] for row in read(path)] == [{"when": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}, {}]


def test_gzip_is_seen_by_content(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1}\n{"id": 2}\n'))
    assert [row[0] for row in read(path)] == [1, 2]


def test_damaged_gzip_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1}\n' * 1000)[:-20])
    with pytest.raises(InvalidInput, match=r"a\.jsonl\.gz is a damaged gzip file"):
        read(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 1', "line 2: not JSON"),
        ("[1]", "line 2: a row is an object"),
        ('{"id": 1, "x": NaN}', "line 2: NaN is no JSON value"),
        ('{"x": 1}', "line 2: this row has no id"),
        ('{"id": 1, "text": 5}', "line 2: 'text' is the text and holds 5"),
        ("[" * 100_000, "line 2: not JSON"),
        ('{"id": 1, "x": ' + "9" * 5000 + "}", "line 2: not JSON"),
        ('{"id": 1, "x": {"$date": 99999999999999999999}}', "line 2: not JSON that can be read"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", '{"id": 0, "text": "fine"}\n' + line + "\n")
    with pytest.raises(InvalidInput, match="a.jsonl, " + message):
        read(path)


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": "\xff"}\n')
    with pytest.raises(InvalidInput, match="line 2: not UTF-8"):
        read(path)


def test_misspelt_column_is_refused_with_the_nearest(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"id": 1, "abstract": "x"}\n')
    with pytest.raises(InvalidInput, match="did you mean 'abstract'"):
        read(path, columns=Columns(text=("abstractx",)))


# --- CSV


def test_csv_columns_have_one_type_each(tmp_path):
    text = "id,text,n,share,flag,zip,mixed\n1,a,1,0.5,true,01234,1\n2,b,,nan,False,99999,x\n3,c,-3,2,,1,2\n"
    path = write(tmp_path / "a.csv", text)
    assert read(path) == [
        (1, "a", {"n": 1, "share": 0.5, "flag": True, "zip": "01234", "mixed": "1"}, None),
        (2, "b", {"flag": False, "zip": "99999", "mixed": "x"}, None),
        (3, "c", {"n": -3, "share": 2.0, "zip": "1", "mixed": "2"}, None),
    ]


def test_csv_types_are_those_of_the_whole_file(tmp_path):
    path = write(tmp_path / "a.csv", "id,n\n" + "".join(f"{at},{at}\n" for at in range(50)) + "50,none\n")
    assert {type(row[2]["n"]) for row in read(path)} == {str}


def test_csv_vectors_quotes_and_lines_in_cells(tmp_path):
    path = write(tmp_path / "a.csv", 'id;text;vector\nx;"two\nlines; one ""cell""";[1, 2.5]\n')
    assert read(path) == [("x", 'two\nlines; one "cell"', None, [1, 2.5])]


def test_csv_with_long_cells(tmp_path):
    vector = json.dumps([0.123456789] * 20_000)
    path = write(tmp_path / "a.csv", f'id,vector\n1,"{vector}"\n')
    assert len(read(path)[0][3]) == 20_000


def test_tsv_and_byte_order_mark(tmp_path):
    path = write(tmp_path / "a.tsv", "id\ttext\n1\ta,b\n", newline="")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path) == [(1, "a,b", None, None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,text\n1,a\n2\n", "line 3: 1 cells, the header has 2"),
        ("id,id\n1,a\n", "line 1: the column 'id' stands twice"),
        ('id,text\n1,"open\n', "unexpected end of data"),
        ("id,vector\n1,oops\n", "line 2, column 'vector': a vector is written as"),
        ("id,text\n1,a\0b\n", "line 2: a NUL byte"),
        ("id,text\n1,a\n,b\n", "line 3: this row has no id"),
    ],
)
def test_malformed_csv_is_named(tmp_path, text, message):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(InvalidInput, match=message):
        read(path)


# --- arrays


@pytest.mark.parametrize("array", [VECTORS, np.asfortranarray(VECTORS), VECTORS.astype(">f8"), VECTORS.astype(np.int8)])
def test_npy(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(vectors_of(tmp_path / "a.npy"), VECTORS)


def test_positions_become_ids_on_request(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    assert [row[0] for row in read(tmp_path / "a.npy", number=True)] == [0, 1, 2, 3]
    assert [row[0] for row in read(tmp_path / "a.npy")] == [None] * 4


def test_pickled_array_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput):
        read(tmp_path / "a.npy")


def test_npy_that_announces_more_than_it_has_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    data = (tmp_path / "a.npy").read_bytes().replace(b"(4, 3), }  ", b"(4000000000, 3), }")
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InvalidInput):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_npy_of_another_shape_is_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(InvalidInput, match=r"shape \(rows, dim\)"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize(("suffix", "dtype"), [("fvecs", "<f4"), ("bvecs", "u1"), ("ivecs", "<i4")])
def test_vector_records(tmp_path, suffix, dtype):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"".join(np.int32(3).tobytes() + row.astype(dtype).tobytes() for row in VECTORS))
    np.testing.assert_array_equal(vectors_of(path), VECTORS)


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, 3)])
def test_cut_vector_records_are_refused(tmp_path, cut):
    data = b"".join(np.int32(3).tobytes() + row.tobytes() for row in VECTORS)
    (tmp_path / "a.fvecs").write_bytes(data[cut])
    with pytest.raises(InvalidInput, match=r"not a whole \.fvecs file"):
        read(tmp_path / "a.fvecs")


def test_vector_record_of_another_length_is_named(tmp_path):
    data = bytearray(b"".join(np.int32(3).tobytes() + row.tobytes() for row in VECTORS))
    data[32:36] = np.int32(7).tobytes()
    (tmp_path / "a.fvecs").write_bytes(data)
    with pytest.raises(InvalidInput, match="row 3: 7 dimensions, the first has 3"):
        read(tmp_path / "a.fvecs")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_columns(tmp_path, save):
    path = tmp_path / "a.npz"
    save(
        path, vectors=np.asfortranarray(VECTORS), ids=["a", "b", "c", "d"], texts=["w", "x", " ", "z"],
        year=np.array([1, 2, 3, 4]), share=np.array([0.5, np.nan, 1, 2]),
    )  # fmt: skip
    rows = read(path)
    assert [row[:3] for row in rows[:2]] == [("a", "w", {"year": 1, "share": 0.5}), ("b", "x", {"year": 2})]
    assert rows[2][1] is None
    np.testing.assert_array_equal(vectors_of(path), VECTORS)


def test_npz_of_one_array_is_vectors(tmp_path):
    np.savez(tmp_path / "a.npz", VECTORS)
    np.testing.assert_array_equal(vectors_of(tmp_path / "a.npz"), VECTORS)


def test_npz_columns_can_be_chosen(tmp_path):
    np.savez(tmp_path / "a.npz", train=VECTORS, test=VECTORS[:1], label=np.arange(4))
    columns = Columns(vector="train", metadata=("label",))
    assert [row[2] for row in read(tmp_path / "a.npz", columns=columns)] == [{"label": n} for n in range(4)]
    with pytest.raises(InvalidInput, match="choose arrays by naming"):
        read(tmp_path / "a.npz", columns=Columns(vector="train"))


def test_npz_that_lies_about_its_size_is_refused(tmp_path):
    np.savez(tmp_path / "good.npz", vectors=VECTORS)
    with zipfile.ZipFile(tmp_path / "good.npz") as archive:
        data = archive.read("vectors.npy").replace(b"(4, 3), }  ", b"(4000000000, 3), }")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("vectors.npy", data)
    with pytest.raises(InvalidInput, match="bytes are announced"):
        read(tmp_path / "a.npz")


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", vectors=VECTORS, ids=np.array(["a", 1, None, 2], dtype=object))
    with pytest.raises(InvalidInput, match="numbers or text are wanted"):
        read(tmp_path / "a.npz")


# --- Parquet


def test_parquet_columns(tmp_path):
    table = pa.table(
        {
            "id": ["a", "b"],
            "text": ["x", None],
            "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
            "when": pa.array([0, 1_000_001_000], pa.timestamp("ns")),
            "share": [0.5, float("nan")],
            "tags": [["u"], None],
            "metadata": ['{"k": 1}', None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet")
    assert first[:3] == ("a", "x", {"when": datetime(1970, 1, 1, tzinfo=UTC), "share": 0.5, "tags": ["u"], "k": 1})
    assert second[:3] == ("b", None, {"when": datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC)})
    assert second[3].dtype == np.float32


def test_parquet_rows_without_a_vector_and_ragged_ones(tmp_path):
    pq.write_table(pa.table({"id": [1, 2, 3], "emb": [[1.0], None, [2.0, 3.0]]}), tmp_path / "a.parquet")
    found = [None if row[3] is None else row[3].tolist() for row in read(tmp_path / "a.parquet")]
    assert found == [[1.0], None, [2.0, 3.0]]


def test_null_in_a_vector_is_named(tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "emb": [[1.0, 2.0], [None, 1.0]]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInput, match="row 2: null inside of a vector"):
        read(tmp_path / "a.parquet")


def test_damaged_parquet_is_refused(tmp_path):
    pq.write_table(
        pa.table({"id": list(range(1000)), "emb": [[float(n)] for n in range(1000)]}), tmp_path / "a.parquet"
    )
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInput, match="not a whole Parquet file"):
        read(tmp_path / "a.parquet")


# --- text


def test_folder_of_text_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    write(tmp_path / "b.md", "# Paint\n\nDries fast.\n\n# Brush\n\nSoft.\n")
    write(tmp_path / "sub" / "a.txt", "Plain words.")
    write(tmp_path / ".git" / "c.txt", "hidden")
    write(tmp_path / "d.png", "not text")
    (tmp_path / "link.txt").symlink_to(tmp_path / "sub" / "a.txt")
    assert [row[:3] for row in read(tmp_path)] == [
        ("b.md#1", "# Paint\n\nDries fast.", {"path": "b.md", "title": "Paint", "passage": 1}),
        ("b.md#2", "# Brush\n\nSoft.", {"path": "b.md", "title": "Brush", "passage": 2}),
        ("sub/a.txt#1", "Plain words.", {"path": "sub/a.txt", "title": "a", "passage": 1}),
    ]


def test_single_text_file(tmp_path):
    path = write(tmp_path / "note.txt", "One thought.")
    assert [row[:2] for row in read(path)] == [("note.txt#1", "One thought.")]


def test_text_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\xff\n")
    with pytest.raises(InvalidInput, match=r"a\.txt, line 2: not UTF-8"):
        read(tmp_path)


def test_folder_without_text_is_refused(tmp_path):
    with pytest.raises(NotFound, match="no text files below"):
        open_source(tmp_path)


# --- names and content


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.npy", b"id,text\n", "not .npy: it begins with"),
        ("a.jsonl", b"[1, 2]", "JSON array: write one object per line"),
        ("a.jsonl", b"hello", "no JSON objects"),
        ("a.csv", b"PAR1xxxx", "is a .parquet file, not .csv"),
        ("a.db", b"SQLite format 3\0", "an SQLite database, which cannot be imported"),
        ("a.pdf", b"%PDF-1.7", "a PDF document"),
        ("a.xyz", b"what", "cannot tell the format"),
    ],
)
def test_content_is_checked(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidInput, match=message):
        open_source(tmp_path / name)


def test_format_is_seen_by_content_or_said(tmp_path):
    assert read(write(tmp_path / "a.data", '{"id": 1}\n'))[0][0] == 1
    assert read(write(tmp_path / "b.data", "id\n1\n"), file_format="csv")[0][0] == 1


def test_missing_file_is_refused_with_the_nearest(tmp_path):
    write(tmp_path / "data.jsonl", "")
    with pytest.raises(NotFound, match=r"did you mean '.*data\.jsonl'"):
        open_source(tmp_path / "dta.jsonl")


def test_columns_of_a_file_without_any_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    with pytest.raises(InvalidInput, match="no columns to choose"):
        open_source(tmp_path / "a.npy", columns=Columns(id="x"))


@pytest.mark.parametrize("seed", range(40))
def test_cut_and_changed_files_never_do_worse_than_an_error_of_ours(tmp_path, seed):
    chance = np.random.default_rng(seed)
    np.savez_compressed(tmp_path / "a.npz", vectors=VECTORS, ids=np.arange(4))
    np.save(tmp_path / "a.npy", VECTORS)
    pq.write_table(pa.table({"id": [1, 2], "emb": [[1.0], [2.0]], "t": ["x", "y"]}), tmp_path / "a.parquet")
    write(tmp_path / "a.jsonl", '{"id": 1, "text": "a", "vector": [1, 2]}\n{"id": 2}\n')
    write(tmp_path / "a.csv", 'id,text,vector\n1,"a","[1, 2]"\n2,b,"[3, 4]"\n')
    (tmp_path / "a.fvecs").write_bytes(b"".join(np.int32(3).tobytes() + row.tobytes() for row in VECTORS))
    for path in sorted(tmp_path.iterdir()):
        data = bytearray(path.read_bytes())
        for _ in range(int(chance.integers(1, 4))):
            data[int(chance.integers(len(data)))] = int(chance.integers(256))
        path.write_bytes(data[: int(chance.integers(len(data) // 2, len(data) + 1))])
        try:
            read(path)
        except VicinalError as error:
            assert "\n" not in str(error)  # noqa: PT017 - most changes raise, some do not
