"""How far labels have moved from what the model says unprompted, and how much of it is labeling or selection."""

from shift.ladder import Ladder
from shift.measuring import measure
from shift.report import ShiftReport

__all__ = ["Ladder", "ShiftReport", "measure"]
