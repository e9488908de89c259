"""Every metric of shift by name; a new one is one file here and one line below."""

from __future__ import annotations

from shift.metrics.centroid import Centroid
from shift.metrics.classifier import ClassifierMetric
from shift.metrics.conditional import ConditionalMmd
from shift.metrics.energy import Energy
from shift.metrics.frechet import FrechetMetric
from shift.metrics.knn_kl import KnnKl
from shift.metrics.mauve import MauveMetric
from shift.metrics.mmd import Mmd
from shift.metrics.prdc import Prdc
from shift.metrics.protocol import KernelMetric, Metric
from shift.metrics.random_feature_mmd import RandomFeatureMmd
from shift.metrics.sliced_w2 import SlicedW2

METRICS: dict[str, Metric | KernelMetric] = {
    metric.name: metric
    for metric in (
        Mmd(),
        Energy(),
        Centroid(),
        ConditionalMmd(),
        SlicedW2(),
        FrechetMetric(),
        ClassifierMetric(),
        Prdc(),
        MauveMetric(),
        KnnKl(),
        RandomFeatureMmd(),
    )
}
BY_NAME_ONLY = ("knn_kl", "random_feature_mmd")
"""Measured where asked for: strongly biased in many dimensions, and near `mmd`."""
