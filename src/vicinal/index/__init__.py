"""Indexes over vectors: arrays and masks in, positions and distances out. No SQL, no storage.

One contract: distances are smaller when nearer, as `vicinal.vectors.distances` defines them. The
exact scan, `search_flat`, is the twin that approximate indexes are measured against. The quantised
scan finds candidates by short codes (`Codebook`, `CodeSegment`), `rerank` compares those exactly,
and `measure` tells what a depth is worth.
"""

from vicinal.index.block import BLOCK_ROWS, Block, Fetch, fetch_from, row_norms, side_by_side
from vicinal.index.bytecodes import ByteCodes, Levels, Rounded, code_bytes
from vicinal.index.candidates import Hits
from vicinal.index.codebook import MIN_TRAINING_ROWS, TRAINING_ROWS, Bits, Codebook, scannable, usual_bits
from vicinal.index.flat import search_flat
from vicinal.index.graph import Graph, GraphBuilder
from vicinal.index.lists import Centroids, CodedLists, Lists, default_nlist
from vicinal.index.protocol import Approximate, Effort, Index, candidates_of
from vicinal.index.recall import Measured, expected_recall, measure
from vicinal.index.reranking import VectorsAt, Whole, rerank, rerank_all_in, rerank_in, survivors
from vicinal.index.scan import CodeSegment, scan_segments, scan_segments_batch
from vicinal.index.workers import in_threads, share

__all__ = [
    "BLOCK_ROWS",
    "MIN_TRAINING_ROWS",
    "TRAINING_ROWS",
    "Approximate",
    "Bits",
    "Block",
    "ByteCodes",
    "Centroids",
    "CodeSegment",
    "Codebook",
    "CodedLists",
    "Effort",
    "Fetch",
    "Graph",
    "GraphBuilder",
    "Hits",
    "Index",
    "Levels",
    "Lists",
    "Measured",
    "Rounded",
    "VectorsAt",
    "Whole",
    "candidates_of",
    "code_bytes",
    "default_nlist",
    "expected_recall",
    "fetch_from",
    "in_threads",
    "measure",
    "rerank",
    "rerank_all_in",
    "rerank_in",
    "row_norms",
    "scan_segments",
    "scan_segments_batch",
    "scannable",
    "search_flat",
    "share",
    "side_by_side",
    "survivors",
    "usual_bits",
]
