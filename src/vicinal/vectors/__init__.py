"""Vectors as values: what a field holds, parsing, distances by definition, top-k. NumPy only.

Invariants: arrays given by callers are never written to; a distance is smaller when nearer; what
cannot be stored without changing its meaning is refused by row, column and value.
"""

from vicinal.vectors.convert import Quantize
from vicinal.vectors.distance import distances, pair_distances, scores
from vicinal.vectors.parse import parse_vector, parse_vectors
from vicinal.vectors.spec import MAX_DIM, DType, Metric, VectorSpec, spec_for
from vicinal.vectors.topk import rounded_keys, smallest_of_groups, smallest_with_ties

__all__ = [
    "MAX_DIM",
    "DType",
    "Metric",
    "Quantize",
    "VectorSpec",
    "distances",
    "pair_distances",
    "parse_vector",
    "parse_vectors",
    "rounded_keys",
    "scores",
    "smallest_of_groups",
    "smallest_with_ties",
    "spec_for",
]
