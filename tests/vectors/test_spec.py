from __future__ import annotations

import numpy as np
import pytest

from vicinal.errors import InvalidInput, InvalidVector
from vicinal.vectors import MAX_DIM, VectorSpec


@pytest.mark.parametrize(
    ("dtype", "storage", "width", "row_bytes"),
    [
        ("f32", np.float32, 64, 256),
        ("f16", np.float16, 64, 128),
        ("i8", np.int8, 64, 64),
        ("bit", np.uint8, 8, 8),
    ],
)
def test_layout(dtype, storage, width, row_bytes):
    spec = VectorSpec(dim=64, dtype=dtype)
    assert spec.storage_dtype == storage
    assert (spec.width, spec.row_bytes) == (width, row_bytes)
    assert spec.metric == ("hamming" if dtype == "bit" else "cosine")


@pytest.mark.parametrize("dtype", ["f32", "f16", "i8", "bit"])
@pytest.mark.parametrize("metric", ["cosine", "l2", "dot", "l1", "hamming"])
def test_pairs(dtype, metric):
    if (dtype == "bit") == (metric == "hamming"):
        assert VectorSpec(dim=8, dtype=dtype, metric=metric).metric == metric
        return
    with pytest.raises(InvalidInput) as caught:
        VectorSpec(dim=8, dtype=dtype, metric=metric)
    message = str(caught.value)
    assert dtype in message
    assert metric in message
    assert ("use hamming" if dtype == "bit" else "use cosine, l2, dot or l1") in message


@pytest.mark.parametrize("dim", [0, -1, MAX_DIM + 1, 1.5, True, "3", None])
def test_dim_out_of_range(dim):
    with pytest.raises(InvalidVector, match=str(dim)):
        VectorSpec(dim=dim)


def test_dim_limits():
    assert VectorSpec(dim=1).dim == 1
    assert VectorSpec(dim=np.int64(MAX_DIM)).dim == MAX_DIM
    with pytest.raises(InvalidVector, match="multiple of 8, got 12"):
        VectorSpec(dim=12, dtype="bit")


def test_unknown_names():
    with pytest.raises(InvalidInput, match="'f64' is not one of f32"):
        VectorSpec(dim=3, dtype="f64")
    with pytest.raises(InvalidInput, match="'angle' is not one of cosine"):
        VectorSpec(dim=3, metric="angle")


def test_values_compare_and_hash():
    assert VectorSpec(dim=3) == VectorSpec(dim=3, metric="cosine")
    assert len({VectorSpec(dim=3), VectorSpec(dim=3), VectorSpec(dim=4)}) == 2
    with pytest.raises(AttributeError):
        VectorSpec(dim=3).dim = 4
