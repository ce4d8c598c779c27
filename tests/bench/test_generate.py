"""Generated data are what their recipe says."""

from __future__ import annotations

import numpy as np
import pytest

from vicinal.bench import Recipe, generated
from vicinal.bench.truth import exact
from vicinal.errors import InvalidInput


def test_the_same_seed_gives_the_same_numbers():
    recipe = Recipe(rows=200, dim=6, intrinsic=3, clusters=4, queries=10, seed=7)
    one, two = generated(recipe), generated(recipe)
    other = generated(Recipe(rows=200, dim=6, intrinsic=3, clusters=4, queries=10, seed=8))
    assert one.vectors.tobytes() == two.vectors.tobytes()
    assert [each.vectors.tobytes() for each in one.queries] == [each.vectors.tobytes() for each in two.queries]
    assert one.vectors.tobytes() != other.vectors.tobytes()


def test_shape_and_names(dataset):
    assert (dataset.rows, dataset.dim, dataset.metric) == (600, 8, "cosine")
    assert [each.name for each in dataset.queries] == ["held-out", "out-of-distribution"]
    assert all(each.vectors.shape == (40, 8) for each in dataset.queries)
    assert dataset.name == "generated 600 x 8, 6 clusters, intrinsic 4, seed 0"


def test_queries_are_not_among_the_vectors(dataset):
    rows = {row.tobytes() for row in dataset.vectors}
    assert not any(query.tobytes() in rows for each in dataset.queries for query in each.vectors)


def intrinsic_dimension(data):
    """The maximum-likelihood estimate of Levina and Bickel, from 20 neighbours."""
    distances = exact(data.vectors, data.queries[0].vectors, 20, "l2").distances
    return 1 / np.mean(np.log(distances[:, -1:] / distances[:, :-1]))


def test_the_intrinsic_dimension_is_the_stated_one_and_not_that_of_the_space():
    found = [
        intrinsic_dimension(generated(Recipe(rows=8000, dim=64, intrinsic=intrinsic, clusters=4, queries=200)))
        for intrinsic in (3, 8, 20)
    ]
    assert 2 < found[0] < 4.5
    assert 5 < found[1] < 11
    assert 10 < found[2] < 26  # estimates fall short where neighbours are far


def test_queries_out_of_distribution_are_farther_away(dataset):
    near, far = (exact(dataset.vectors, each.vectors, 1, "l2").distances.mean() for each in dataset.queries)
    assert far > 1.2 * near


@pytest.mark.parametrize(
    ("shape", "rows", "dim"), [("1000x32", 1000, 32), ("10_000x8", 10_000, 8), (" 1,000X4 ", 1000, 4)]
)
def test_shapes(shape, rows, dim):
    recipe = Recipe.parse(shape)
    assert (recipe.rows, recipe.dim) == (rows, dim)


@pytest.mark.parametrize("shape", ["", "1000", "1000x", "x32", "-5x3", "1000x32x2", "1e6x3", "9" * 40 + "x1"])
def test_bad_shapes(shape):
    with pytest.raises(InvalidInput, match="ROWSxDIM"):
        Recipe.parse(shape)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (Recipe(rows=0, dim=4, intrinsic=2), "number of clusters"),
        (Recipe(rows=1000, dim=4, intrinsic=5), "intrinsic dimension is between 1 and 4"),
        (Recipe(rows=50, dim=30), "number of clusters is between 1 and 50"),
        (Recipe(rows=1000, dim=30, queries=0), "number of queries"),
        (Recipe(rows=10**9, dim=1000), "above 16 GB"),
        (Recipe(rows=1000, dim=70_000), "at most 65,536"),
        (Recipe(rows=10**6, dim=2000, clusters=10**6, queries=10), "too many to generate"),
        (Recipe(rows=1000, dim=30, seed=-1), "a seed is"),
    ],
)
def test_what_cannot_be_generated(recipe, reason):
    with pytest.raises(InvalidInput, match=reason):
        generated(recipe)
