"""Reading arrays of vectors: `.npy`, and the `.fvecs`, `.bvecs` and `.ivecs` of benchmark collections.

The files are mapped, not read: memory holds one batch. Shapes are checked against the size of the file
before anything is allocated, and nothing is ever unpickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vicinal.errors import InvalidInput, InvalidVector, NotFound, shorten
from vicinal.exchange.batch import ONLY, Batch
from vicinal.vectors import MAX_DIM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["NumpyArray", "VectorRecords", "numbered"]

RECORD_TYPES: Final = {".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}


def numbered(start: int, stop: int, *, number: bool) -> list[int | str] | None:
    """Return positions from 0 as ids where the caller wants them."""
    return list(range(start, stop)) if number else None


class NumpyArray:
    """A `.npy` file: one vector per row. `number` makes the row's position, from 0, its id."""

    spec = None

    def __init__(self, path: Path, *, number: bool = False) -> None:
        self.path = path
        self.number = number
        array = self._mapped()
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            message = f"{path.name}: vectors are numbers of shape (rows, dim), not {array.dtype} of shape {array.shape}"
            raise InvalidVector(message)

    def _mapped(self) -> NDArray[Any]:
        try:
            mapped: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            message = f"no file {str(self.path)!r}"
            raise NotFound(message) from None
        except (ValueError, EOFError, OSError) as error:
            message = f"{self.path.name} is not a whole .npy file of numbers: {error}"
            raise InvalidInput(message) from error
        return mapped

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows, at most `size` at a time."""
        array = self._mapped()
        for start in range(0, len(array), size):
            stop = min(start + size, len(array))
            yield Batch(
                numbers=range(start + 1, stop + 1),
                ids=numbered(start, stop, number=self.number),
                vectors={ONLY: np.array(array[start:stop])},
                done=stop / len(array),
            )


class VectorRecords:
    """An `.fvecs`, `.bvecs` or `.ivecs` file: each vector after its length as a 32-bit number."""

    spec = None

    def __init__(self, path: Path, *, number: bool = False, suffix: str | None = None) -> None:
        self.path = path
        self.number = number
        dtype = np.dtype(RECORD_TYPES[suffix or path.suffix.lower()])
        try:
            n_bytes = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(4)
        except FileNotFoundError:
            message = f"no file {str(path)!r}"
            raise NotFound(message) from None
        self.dim = int(np.frombuffer(head, "<i4")[0]) if len(head) == 4 else 0
        record_bytes = 4 + self.dim * dtype.itemsize
        if n_bytes and (not 1 <= self.dim <= MAX_DIM or n_bytes % record_bytes):
            message = (
                f"{path.name} is not a whole {suffix or path.suffix} file: its first vector has {self.dim} "
                f"dimensions, and {n_bytes:,} bytes are not a multiple of {record_bytes}"
            )
            raise InvalidInput(message)
        self._record = np.dtype([("dim", "<i4"), ("vector", dtype, (self.dim,))])
        self.rows = n_bytes // record_bytes

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows, at most `size` at a time. Raises InvalidVector for a vector of another length."""
        if not self.rows:
            return
        records = np.memmap(self.path, self._record, mode="r", shape=(self.rows,))
        for start in range(0, self.rows, size):
            stop = min(start + size, self.rows)
            dims = np.array(records["dim"][start:stop])
            if (dims != self.dim).any():
                position = int(np.argmax(dims != self.dim))
                message = (
                    f"{self.path.name}, row {start + position + 1}: {shorten(int(dims[position]))} dimensions, "
                    f"the first has {self.dim}"
                )
                raise InvalidVector(message)
            yield Batch(
                numbers=range(start + 1, stop + 1),
                ids=numbered(start, stop, number=self.number),
                vectors={ONLY: np.array(records["vector"][start:stop])},
                done=stop / self.rows,
            )
