from __future__ import annotations

import numpy as np

from vicinal.engine.codes.reservoir import Reservoir


def test_each_query_is_as_likely_to_be_kept_as_any_other():
    rng, n, rounds = np.random.default_rng(0), 2000, 200
    kept = np.zeros(n)
    for _ in range(rounds):
        reservoir, seen = Reservoir(), 0
        while seen < n:
            batch = min(int(rng.choice([1, 1, 1, 40])), n - seen)
            reservoir.note(np.arange(seen, seen + batch, dtype=np.float32)[:, None])
            seen += batch
        found = reservoir.queries()
        assert found is not None
        assert len(found) == 128
        assert len(np.unique(found)) == 128
        kept[found[:, 0].astype(int)] += 1
    parts = kept.reshape(10, -1).sum(axis=1)
    due = rounds * 128 / 10
    assert (np.abs(parts - due) < 6 * np.sqrt(due)).all(), parts


def test_too_few_are_no_sample():
    reservoir = Reservoir()
    reservoir.note(np.ones((63, 4), np.float32))
    assert reservoir.queries() is None
    reservoir.note(np.ones((1, 4), np.float32))
    assert reservoir.queries() is not None


def test_what_is_kept_is_a_copy():
    reservoir, query = Reservoir(), np.ones((64, 4), np.float32)
    reservoir.note(query)
    query[:] = 0
    assert reservoir.queries().all()
