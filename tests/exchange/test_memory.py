"""Readers take the memory of a batch, not of the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SOURCE = Path(__file__).parents[2] / "src"
ROWS, DIM = 100_000, 256
FILE_MB = ROWS * DIM * 4 / 1e6

CODE = """
import resource, sys
from pathlib import Path
from vicinal.exchange import open_source
source = open_source(Path(sys.argv[1]))
next(iter(source.batches(10)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(len(batch) for batch in source.batches(1000))
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000)
"""


def save_parquet(path, array):
    vectors = pa.FixedSizeListArray.from_arrays(array.ravel(), DIM)
    pq.write_table(pa.table({"vector": vectors}), path, row_group_size=5_000, use_dictionary=False)


def save_npz(path, array):
    np.savez(path, vectors=array)


@pytest.mark.parametrize(("name", "save"), [("a.parquet", save_parquet), ("a.npz", save_npz)])
def test_memory_is_that_of_a_batch(tmp_path, name, save):
    save(tmp_path / name, np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32))
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / name],
        env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows, megabytes = done.stdout.split()
    assert int(rows) == ROWS
    assert float(megabytes) < FILE_MB / 2
