"""What exact search means: vectors of difficult kinds, and the textbook distances to compare with."""

from __future__ import annotations

import numpy as np

from vicinal.index import Block, row_norms, search_flat
from vicinal.vectors import distances, parse_vectors

PAIRS = [(t, m) for t in ("f32", "f16", "i8") for m in ("cosine", "l2", "dot", "l1")] + [("bit", "hamming")]
SHAPES = ("normal", "offset", "huge", "tiny", "mixed", "duplicates", "grid", "outlier", "sparse", "units")


def make(rng, shape, n, spec):
    """Vectors (n, width) of one difficult kind, in storage layout."""
    dim = spec.dim
    if spec.dtype == "bit":
        return np.packbits(rng.random((n, dim)) < rng.choice([0.1, 0.5]), axis=1)
    largest = {"f32": 3e38, "f16": 6e4, "i8": 127.0}[spec.dtype]
    x = _floats(rng, shape, n, spec, largest)
    if spec.dtype == "i8":
        x = np.clip(np.rint(x * (30 if shape in ("normal", "sparse") else 1)), -128, 127)
    x = np.clip(x, -largest, largest).astype(spec.storage_dtype)
    if spec.metric == "cosine":
        x[~x.any(axis=1), 0] = 1
    return parse_vectors(x, spec)


def _floats(rng, shape, n, spec, largest):
    dim = spec.dim
    x = rng.standard_normal((n, dim))
    if shape == "offset":
        x = x + {"f32": 1e4, "f16": 300.0, "i8": 100.0}[spec.dtype]
    elif shape == "units":  # lengths of one, or just about, and directions that hardly differ
        x = x[:1] + x * 10.0 ** rng.integers(-6, 1)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        x *= 1.0 + rng.choice([1e-7, 1e-6, 2e-6]) * rng.standard_normal((n, 1))
    elif shape == "huge":
        x = x / np.abs(x).max() * largest
    elif shape == "tiny":
        x = x * {"f32": 1e-41, "f16": 1e-6, "i8": 2.0}[spec.dtype]
    elif shape == "mixed" and spec.dtype == "f32":
        x = x * 10.0 ** rng.integers(-30, 30, (n, 1))
    elif shape == "duplicates":
        x = x[rng.integers(0, min(n, 3), n)]
    elif shape == "grid":
        x = rng.integers(-1, 2, (n, dim)).astype(float)
    elif shape == "outlier":
        x[rng.integers(0, n)] *= largest / np.abs(x).max() / 2
    elif shape == "sparse":
        x = x * (rng.random((n, dim)) < 0.1)
    return x


def blocks_of(vectors, spec, size, mask=None):
    """Blocks of at most `size` rows."""
    whole = Block(0, vectors, row_norms(vectors, spec), mask)
    for start in range(0, len(vectors), size):
        yield whole.rows(start, start + size)


def oracle(query, rows, spec):
    """Distances in extended precision, by the textbook formulas."""
    if spec.metric == "hamming":
        return (np.unpackbits(rows, axis=1) != np.unpackbits(query)).sum(axis=1).astype(float)
    x, q = rows.astype(np.longdouble), query.astype(np.longdouble)
    if spec.metric == "dot":
        return -(x * q).sum(axis=1)
    if spec.metric == "cosine":
        return 1 - (x * q).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (q * q).sum())
    if spec.metric == "l1":
        return np.abs(x - q).sum(axis=1)
    return np.sqrt(((x - q) ** 2).sum(axis=1))


def check(found, query, vectors, spec, k, mask=None):
    """Positions and distances against the oracle, up to float32 rounding."""
    positions, dist = found
    passing = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask)
    truth = np.full(len(vectors), np.inf, np.longdouble)
    truth[passing] = oracle(query, vectors[passing], spec)
    assert positions.dtype == np.int64
    assert dist.dtype == np.float32
    assert len(set(positions.tolist())) == len(positions)
    assert set(positions) <= set(passing.tolist())
    assert len(positions) >= min(k, len(passing))
    scale = np.abs(truth[positions])
    if spec.metric == "dot":  # float64 products of large terms may cancel
        x = np.abs(vectors[positions].astype(np.longdouble))
        scale = scale + 1e-9 * (x * np.abs(query.astype(np.longdouble))).sum(axis=1)
    slack = scale * 2e-7 + 1e-18
    within = scale < 3e38
    with np.errstate(over="ignore"):
        assert np.all(np.abs(dist - truth[positions])[within] <= slack[within] + 1.5e-45)
    order = np.lexsort((positions, dist))
    if within.all():
        assert np.array_equal(order, np.arange(len(order)))
    # The very set the definition gives, ties with the k-th included.
    reference = distances(query, vectors[passing], spec)
    with np.errstate(over="ignore"):
        keys = reference.astype(np.float32).astype(float)
    keys = np.where(np.isinf(keys), reference, keys)
    if len(passing):
        kth = np.sort(keys)[min(k, len(keys)) - 1]
        best = np.flatnonzero(keys <= kth)
        best = best[np.lexsort((best, keys[best]))]
        assert positions.tolist() == passing[best].tolist()


def clustered(n, spec, seed=0, centres=40):
    """Vectors around some centres, with norms that vary: rows, and queries that are not among them."""
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, spec.dim))
    x = middle[rng.integers(0, centres, n + 30)] + 0.6 * rng.standard_normal((n + 30, spec.dim))
    x *= rng.uniform(0.7, 1.3, (n + 30, 1))
    if spec.dtype == "i8":
        x = np.clip(np.rint(x * 25), -128, 127)
        x[~x.any(axis=1), 0] = 1
    x = parse_vectors(x.astype(spec.storage_dtype), spec)
    return x[:n], x[n:]


def truth_of(x, queries, spec, k, mask=None):
    return search_flat([Block(0, x, row_norms(x, spec), mask)], queries, spec, k)
