"""How many candidates a recall takes, by what was measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vicinal.engine.codes.calibration import DEPTHS, Calibration, depth_for

SHARES = st.lists(st.floats(0, 1), min_size=len(DEPTHS), max_size=len(DEPTHS))


@st.composite
def calibrations(draw):
    def curve():
        return tuple((share, draw(st.floats(0, 0.05))) for share in sorted(draw(SHARES), reverse=True))

    return Calibration(rows=100_000, queries=128, missed={k: curve() for k in (1, 10, 100)})


@given(calibrations(), st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_more_recall_and_more_rows_take_no_fewer_candidates(calibration, one, other):
    low, high = sorted((one, other))
    for k in (1, 10, 100):
        assert depth_for(low, k, 100_000, 1, calibration) <= depth_for(high, k, 100_000, 1, calibration)
        assert depth_for(low, k, 100_000, 1, calibration) <= depth_for(low, k, 1_000_000, 1, calibration)


@given(calibrations(), st.floats(0.5, 0.999))
def test_the_nearest_take_no_more_candidates_than_those_farther_away(calibration, recall):
    depths = [depth_for(recall, k, 100_000, 1, calibration) for k in (1, 5, 10, 50, 100)]
    assert depths == sorted(depths)


def test_one_miss_of_few_queries_does_not_send_a_search_through_everything():
    """Of 128 queries one missed its nearest at every depth: the ten nearest of each tell that this is chance."""
    nearest = tuple((1 / 128, 1 / 128) for _ in DEPTHS)
    ten = tuple((0.3 / 2**at, 0.01 / 2**at) for at in range(len(DEPTHS)))
    calibration = Calibration(rows=1_000_000, queries=128, missed={1: nearest, 10: ten})
    assert depth_for(0.99, 1, 1_000_000, 1, calibration) == depth_for(0.99, 10, 1_000_000, 1, calibration) <= 1024
