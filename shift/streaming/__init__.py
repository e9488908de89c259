"""Two samples of any number of rows compared in one pass and constant memory.

Up to about 100,000 pooled rows `shift.measure` is exact; beyond them this takes MMD^2 through random features (and,
without approximation but with more noise, as a mean over exact blocks), Frechet distance and centroid shift from
streamed moments, sliced W2 from histograms, and the Vendi score of either side. `Streamed.regime` says how.
"""

from shift.streaming.comparing import stream
from shift.streaming.result import Streamed

__all__ = ["Streamed", "stream"]
