"""Small data, and plans that take a moment."""

from __future__ import annotations

import pytest

from vicinal.bench import Plan, Recipe, generated


@pytest.fixture(scope="session")
def dataset():
    """600 vectors of 8 dimensions, 40 queries of each kind."""
    return generated(Recipe(rows=600, dim=8, intrinsic=4, clusters=6, queries=40))


@pytest.fixture(scope="session")
def plan():
    """Every measurement, each as short as can be."""
    return Plan(k=5, threads=2, batch_sizes=(1, 100, 1000), seconds=0.05, timeout=60)
