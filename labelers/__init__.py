"""Labelers: label a dataset with a model's own outputs. A method is a proposal x a scorer x a selector."""

from labelers.engines import load_engine
from labelers.labeling import label
from labelers.method import Method, crossed
from labelers.methods import METHODS, make_method
from labelers.planning import Plan, plan
from labelers.pools import Drawn, draw_pool, score_candidates
from labelers.proposals import PROPOSALS
from labelers.relabeling import relabel
from labelers.scorers import SCORERS, Tools
from labelers.selection import select
from labelers.selectors import SELECTORS
from labelers.store import SampleStore
from labelers.task import LabelTask, Preference

__all__ = [
    "METHODS",
    "PROPOSALS",
    "SCORERS",
    "SELECTORS",
    "Drawn",
    "LabelTask",
    "Method",
    "Plan",
    "Preference",
    "SampleStore",
    "Tools",
    "crossed",
    "draw_pool",
    "label",
    "load_engine",
    "make_method",
    "plan",
    "relabel",
    "score_candidates",
    "select",
]
