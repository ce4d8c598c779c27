"""Generated data: clusters whose points spread along few directions, and queries inside and outside of them.

Real embeddings have far fewer degrees of freedom than dimensions. Here every cluster has directions of its
own, `intrinsic` of them, so that the data as a whole fills the space while its neighbourhoods do not.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from vicinal.bench.dataset import HELD_OUT, OUTSIDE, Dataset, Metric, QuerySet, check_size
from vicinal.errors import InvalidInput, shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Recipe", "generated"]

_SHAPE = re.compile(r"([0-9_,]{1,15})x([0-9]{1,6})")
_CENTRE_SCALE = 0.5  # of a centre's components; those of a point's offset have a variance of 1 along its directions
_NOISE = 0.02
_MAX_BASIS_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to generate a data set; the same recipe gives the same numbers."""

    rows: int
    dim: int
    intrinsic: int = 20
    clusters: int = 100
    metric: Metric = "cosine"
    queries: int = 1000
    seed: int = 0

    @classmethod
    def parse(cls, shape: str, **others: int) -> Recipe:
        """Return the recipe for a shape such as "100000x256". Raises InvalidInput."""
        found = _SHAPE.fullmatch(shape.strip().lower())
        if found is None:
            message = f"a shape is ROWSxDIM, such as 100000x256, not {shorten(shape)}"
            raise InvalidInput(message)
        rows = found[1].replace("_", "").replace(",", "")
        return cls(rows=int(rows or 0), dim=int(found[2]), **others)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """The name of the data set."""
        return (
            f"generated {self.rows:,} x {self.dim}, {self.clusters} clusters, "
            f"intrinsic {self.intrinsic}, seed {self.seed}"
        )

    def check(self) -> None:
        """Raise InvalidInput for what cannot be generated."""
        check_size(self.rows + self.queries, self.dim, "generated data")
        for name, value, high in (
            ("intrinsic dimension", self.intrinsic, self.dim),
            ("number of clusters", self.clusters, self.rows),
            ("number of queries", self.queries, 1_000_000),
        ):
            if not 1 <= value <= high:
                message = f"the {name} is between 1 and {high:,} for {self.rows:,} x {self.dim}, not {value:,}"
                raise InvalidInput(message)
        if self.clusters * self.intrinsic * self.dim * 4 > _MAX_BASIS_BYTES:
            message = f"{self.clusters:,} clusters of intrinsic dimension {self.intrinsic} are too many to generate"
            raise InvalidInput(message)
        if not 0 <= self.seed < 1 << 63:
            message = f"a seed is a whole number from 0, not {self.seed}"
            raise InvalidInput(message)


def generated(recipe: Recipe) -> Dataset:
    """Return the data set of a recipe, with held-out queries and others out of distribution.

    Held-out queries are further points of the same clusters. Those out of distribution lie halfway between
    two clusters, along directions that no cluster has, all shifted by one vector: as texts lie among images.
    Raises InvalidInput.
    """
    recipe.check()
    rng = np.random.default_rng([recipe.seed, 0])
    dim, intrinsic = recipe.dim, recipe.intrinsic
    centres = rng.standard_normal((recipe.clusters, dim), np.float32) * np.float32(_CENTRE_SCALE)
    bases = _directions(rng, recipe.clusters, intrinsic, dim)
    everything = np.empty((recipe.rows + recipe.queries, dim), np.float32)
    member = rng.integers(0, recipe.clusters, len(everything))
    for cluster in range(recipe.clusters):
        rows = np.flatnonzero(member == cluster)
        offsets = rng.standard_normal((len(rows), intrinsic), np.float32)
        everything[rows] = centres[cluster] + offsets @ bases[cluster]
    _add_noise(rng, everything)
    return Dataset(
        name=recipe.name,
        metric=recipe.metric,
        vectors=everything[: recipe.rows],
        queries=(
            QuerySet(name=HELD_OUT, vectors=everything[recipe.rows :]),
            QuerySet(name=OUTSIDE, vectors=_outside(np.random.default_rng([recipe.seed, 2]), recipe, centres)),
        ),
        about={"generated": asdict(recipe)},
    )


def _directions(rng: np.random.Generator, n: int, intrinsic: int, dim: int) -> NDArray[np.float32]:
    """Return (n, intrinsic, dim) directions of unit length, nearly orthogonal where there is room."""
    bases = rng.standard_normal((n, intrinsic, dim), np.float32)
    bases /= np.linalg.norm(bases, axis=2, keepdims=True)
    return bases


def _add_noise(rng: np.random.Generator, vectors: NDArray[np.float32]) -> None:
    """Add a little of every direction in place, so that no two points are equal."""
    for start in range(0, len(vectors), 65_536):
        block = vectors[start : start + 65_536]
        block += np.float32(_NOISE) * rng.standard_normal(block.shape, np.float32)


def _outside(rng: np.random.Generator, recipe: Recipe, centres: NDArray[np.float32]) -> NDArray[np.float32]:
    n, dim = recipe.queries, recipe.dim
    pairs = rng.integers(0, recipe.clusters, (n, 2))
    middle = (centres[pairs[:, 0]] + centres[pairs[:, 1]]) / 2
    basis = _directions(rng, 1, recipe.intrinsic, dim)[0]
    shift = rng.standard_normal(dim, np.float32) * np.float32(_CENTRE_SCALE)
    outside: NDArray[np.float32] = middle + rng.standard_normal((n, recipe.intrinsic), np.float32) @ basis + shift
    _add_noise(rng, outside)
    return outside
