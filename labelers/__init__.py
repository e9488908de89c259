"""Labelers: label a dataset with a model's own outputs. A method is a proposal x a scorer x a selector."""

from labelers.engines import load_engine
from labelers.labeling import Pool, draw_pool, label, score_candidates, select
from labelers.method import Method
from labelers.registry import METHODS, make_method
from labelers.store import SampleStore
from labelers.task import LabelTask

__all__ = [
    "METHODS",
    "LabelTask",
    "Method",
    "Pool",
    "SampleStore",
    "draw_pool",
    "label",
    "load_engine",
    "make_method",
    "score_candidates",
    "select",
]
