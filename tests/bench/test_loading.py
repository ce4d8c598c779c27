"""Files of every format give their vectors; bad ones are refused by name, with the reason."""

from __future__ import annotations

import gzip
import io
import struct

import numpy as np
import pytest

from vicinal.bench.loading import Reading, read_dataset
from vicinal.errors import InvalidInput, NotFound

VECTORS = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)


def read(path, **options):
    return read_dataset(path, Reading(**options))


def save_npy(path, array=VECTORS):
    np.save(path, array)
    return path


def save_vecs(path, array, code="<f4"):
    path.write_bytes(b"".join(struct.pack("<i", len(row)) + row.astype(code).tobytes() for row in array))
    return path


def idx(images, *, magic=0x803, n=None):
    count = len(images) if n is None else n
    return struct.pack(">IIII", magic, count, *images.shape[1:]) + images.astype(np.uint8).tobytes()


def save_idx(folder, train=None, test=None):
    images = np.random.default_rng(3).integers(0, 255, (20, 3, 2))
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images) if train is None else train))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(images[:4]) if test is None else test)
    return folder, images


def rows_of(array):
    return {row.tobytes() for row in array}


# --- .npy


def test_rows_are_held_out_and_never_inserted(tmp_path):
    data = read(save_npy(tmp_path / "a.npy"), queries=3)
    assert (data.rows, data.metric, data.queries[0].name) == (27, "cosine", "held-out")
    held = rows_of(data.queries[0].vectors)
    assert len(held) == 3
    assert rows_of(data.vectors) | held == rows_of(VECTORS)
    assert not rows_of(data.vectors) & held


def test_the_seed_chooses_the_rows(tmp_path):
    path = save_npy(tmp_path / "a.npy")
    chosen = [read(path, queries=3, seed=seed).queries[0].vectors.tobytes() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_queries_of_ones_own(tmp_path):
    data = read(save_npy(tmp_path / "a.npy"), query_file=save_npy(tmp_path / "q.npy", QUERIES), queries=4)
    assert data.rows == 30
    assert data.queries[0].name == "q.npy"
    assert data.queries[0].vectors.tolist() == QUERIES[:4].tolist()


def test_float64_and_integers_become_float32(tmp_path):
    for dtype in (np.float64, np.int16):
        data = read(save_npy(tmp_path / "a.npy", (10 * VECTORS).astype(dtype)), metric="l2", rows=20)
        assert data.vectors.dtype == np.float32
        assert data.rows == 18


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (VECTORS[0], r"shape \(4,\)"),
        (VECTORS[None], r"shape \(1, 30, 4\)"),
        (VECTORS[:0], "no vectors in an array of 0 x 4"),
        (VECTORS.astype(str), "vectors are numbers"),
        (VECTORS.astype(complex), "vectors are numbers"),
        (np.array([[{}]]), "not a .npy file of numbers"),
        (np.full((3, 2), np.nan), "row 0 has a value that is not a finite float32"),
        (np.vstack([VECTORS, np.full((1, 4), 1e200)]), "row 30 has a value that is not a finite float32"),
        (np.vstack([VECTORS, np.zeros((1, 4))]), "row 30 is zero, which has no cosine"),
        (VECTORS[:1], "one vector is too few"),
        (np.zeros((1, 70_000)), "70,000 dimensions"),
    ],
)
def test_bad_arrays(tmp_path, array, reason):
    with pytest.raises(InvalidInput, match=rf"^bad\.npy: .*{reason}"):
        read(save_npy(tmp_path / "bad.npy", array))


def test_a_header_that_promises_too_much(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 1000)})
    (tmp_path / "bad.npy").write_bytes(head.getvalue() + b"\0" * 64)
    with pytest.raises(InvalidInput, match=r"^bad\.npy: "):
        read(tmp_path / "bad.npy")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"hello", b"PK\x03\x04"])
def test_bytes_that_are_no_array(tmp_path, content):
    (tmp_path / "bad.npy").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"^bad\.npy: "):
        read(tmp_path / "bad.npy")


def test_queries_of_another_dimension(tmp_path):
    with pytest.raises(InvalidInput, match="4 dimensions, queries 3"):
        read(save_npy(tmp_path / "a.npy"), query_file=save_npy(tmp_path / "q.npy", QUERIES[:, :3]))


def test_names_and_options_that_are_wrong(tmp_path):
    with pytest.raises(NotFound, match="no file"):
        read(tmp_path / "none.npy")
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(InvalidInput, match=r"a\.txt: cannot read \.txt; known are \.npy"):
        read(tmp_path / "a.txt")
    with pytest.raises(InvalidInput, match="metric is one of"):
        read(save_npy(tmp_path / "a.npy"), metric="hamming")
    with pytest.raises(InvalidInput, match="rows is a number above 0"):
        read(tmp_path / "a.npy", rows=0)


# --- .fvecs, .bvecs


@pytest.mark.parametrize(("suffix", "code"), [("fvecs", "<f4"), ("bvecs", "u1")])
def test_vecs(tmp_path, suffix, code):
    array = np.random.default_rng(0).integers(0, 255, (20, 6)).astype(np.float32)
    data = read(save_vecs(tmp_path / f"a.{suffix}", array, code), queries=2, rows=15)
    assert (data.rows, data.dim, data.metric) == (14, 6, "l2")
    assert rows_of(data.vectors) | rows_of(data.queries[0].vectors) <= rows_of(array)


def test_bad_vecs(tmp_path):
    path = save_vecs(tmp_path / "bad.fvecs", VECTORS)
    whole = path.read_bytes()
    for content, reason in [
        (whole[:-3], "no whole number of vectors"),
        (b"", "a first vector of 0 dimensions"),
        (struct.pack("<i", -1) + whole, "a first vector of -1 dimensions"),
        (struct.pack("<i", 10**6) + whole, "1,000,000 dimensions"),
        (whole[:20] + struct.pack("<i", 3) + whole[24:], "vector 1 has 3 dimensions, the first 4"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=rf"^bad\.fvecs: .*{reason}"):
            read(path)


# --- idx


def test_a_folder_of_idx_files(tmp_path):
    folder, images = save_idx(tmp_path / "mnist")
    data = read(folder, metric=None)
    assert (data.rows, data.dim, data.metric, data.queries[0].name) == (20, 6, "l2", "test")
    assert data.vectors.tolist() == images.reshape(20, 6).tolist()
    assert data.queries[0].vectors.tolist() == images[:4].reshape(4, 6).tolist()
    assert read(folder, rows=7, queries=2).rows == 7


IMAGES = np.ones((20, 3, 2))


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (idx(IMAGES, magic=0x801), "not an idx file of images"),
        (b"", "not an idx file of images"),
        (idx(IMAGES)[:-1], "do not have the size of 20 images"),
        (idx(IMAGES) + b"\0", "do not have the size of 20 images"),
        (idx(IMAGES, n=2**31), "do not have the size|above 16 GB"),
    ],
)
def test_bad_idx_files(tmp_path, train, reason):
    folder, _ = save_idx(tmp_path / "mnist", train=train)
    with pytest.raises(InvalidInput, match=rf"^train-images-idx3-ubyte\.gz: .*({reason})"):
        read(folder)


def test_damaged_gzip(tmp_path):
    folder, _ = save_idx(tmp_path / "mnist")
    path = folder / "train-images-idx3-ubyte.gz"
    for content in (path.read_bytes()[:-12], b"plain", path.read_bytes()[:20] + b"xxxx" + path.read_bytes()[24:]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"^train-images-idx3-ubyte\.gz: "):
            read(folder)


def test_a_folder_without_idx_files(tmp_path):
    with pytest.raises(NotFound, match="no train-images-idx3-ubyte"):
        read(tmp_path)


# --- .hdf5


@pytest.fixture
def hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")

    def save(distance="angular", **arrays):
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            file.attrs["distance"] = distance
            for name, array in arrays.items():
                file[name] = array
        return tmp_path / "a.hdf5"

    return save


@pytest.mark.parametrize(("distance", "metric"), [("angular", "cosine"), ("euclidean", "l2"), ("dot", "dot")])
def test_hdf5_as_ann_benchmarks_lays_it_out(hdf5, distance, metric):
    distances = np.sort(np.random.default_rng(0).random((5, 10)), axis=1)
    path = hdf5(distance, train=VECTORS, test=QUERIES, neighbors=np.zeros((5, 10), int), distances=distances)
    data = read(path, queries=4)
    assert (data.metric, data.queries[0].name) == (metric, "test")
    assert data.vectors.tolist() == VECTORS.tolist()
    assert data.queries[0].vectors.tolist() == QUERIES[:4].tolist()
    assert data.distances.tolist() == distances[:4].tolist()
    assert read(path, rows=20).distances is None


def test_bad_hdf5(hdf5, tmp_path):
    for arrays, distance, reason in [
        ({"train": VECTORS, "test": QUERIES}, "jaccard", "distance 'jaccard'"),
        ({"vectors": VECTORS}, "angular", "no array 'train'; there are: 'vectors'"),
        ({"train": VECTORS[0]}, "angular", "'train' is not an array of shape"),
        ({"train/inner": VECTORS}, "angular", "'train' is not an array of shape"),
        ({"train": VECTORS, "test": QUERIES[:, :2]}, "angular", "4 dimensions, queries 2"),
    ]:
        with pytest.raises(InvalidInput, match=rf"^a\.hdf5: .*{reason}"):
            read(hdf5(distance, **arrays))
    (tmp_path / "a.hdf5").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidInput, match=r"^a\.hdf5: not an HDF5 file"):
        read(tmp_path / "a.hdf5")


# --- .parquet


@pytest.fixture
def parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def save(**columns):
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    return save


def test_parquet(parquet):
    pa = pytest.importorskip("pyarrow")
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), 4)
    for column in (VECTORS.tolist(), fixed):
        data = read(parquet(id=list(range(30)), emb=column, name=["a"] * 30), queries=3)
        assert rows_of(data.vectors) | rows_of(data.queries[0].vectors) == rows_of(VECTORS)
    assert read(parquet(emb=VECTORS.tolist()), rows=10, queries=1).rows == 9


def test_parquet_with_several_columns(parquet):
    path = parquet(one=VECTORS.tolist(), two=VECTORS[:, :2].tolist())
    assert read(path, column="two").dim == 2
    with pytest.raises(InvalidInput, match="columns one, two; choose one with --column"):
        read(path)
    with pytest.raises(InvalidInput, match="no column 'three' of lists of numbers; there are: one, two"):
        read(path, column="three")


def test_bad_parquet(parquet, tmp_path):
    ragged, holes = VECTORS.tolist(), VECTORS.tolist()
    ragged[7] = [1.0]
    holes[3][0] = None
    for columns, reason in [
        ({"emb": ragged}, "row 7: a list of 1 numbers; the first has 4"),
        ({"emb": holes}, "nulls inside its lists"),
        ({"emb": [*VECTORS.tolist(), None]}, "row 30: a list of -1 numbers"),
        ({"id": [1, 2]}, "no column of lists of numbers"),
    ]:
        with pytest.raises(InvalidInput, match=rf"^a\.parquet: .*{reason}"):
            read(parquet(**columns))
    (tmp_path / "a.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidInput, match=r"^a\.parquet: not a Parquet file"):
        read(tmp_path / "a.parquet")
