"""How far labels have moved from what the model says unprompted, and how much of it is labeling or selection."""

from shift.ladder import Ladder
from shift.measuring import compare, examine, measure
from shift.metrics import METRICS
from shift.report import ShiftReport
from shift.samples import Samples
from shift.streaming import stream

__all__ = ["METRICS", "Ladder", "Samples", "ShiftReport", "compare", "examine", "measure", "stream"]
