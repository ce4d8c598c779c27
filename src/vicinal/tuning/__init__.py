"""Measures the kinds of index on a sample of a collection's own vectors, and says which one suits it.

On the public API alone: each kind is chosen in a temporary database, and searched as everybody searches.
"""

from vicinal.tuning.advice import Advice, Forecast, advise
from vicinal.tuning.plot import check_plot, draw
from vicinal.tuning.trials import Point, Trial, Tuning, tune

__all__ = ["Advice", "Forecast", "Point", "Trial", "Tuning", "advise", "check_plot", "draw", "tune"]
