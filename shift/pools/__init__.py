"""What stored pools say without an embedder: likelihoods, smaller pools, misbehavior by score, and ceilings."""

from shift.pools.ceilings import Ceilings, against, ceilings
from shift.pools.eta import Eta, eta_of
from shift.pools.k_curves import KCurves, k_curves
from shift.pools.likelihood import LikelihoodShift, likelihood_shift
from shift.pools.stored import StoredPools

__all__ = [
    "Ceilings",
    "Eta",
    "KCurves",
    "LikelihoodShift",
    "StoredPools",
    "against",
    "ceilings",
    "eta_of",
    "k_curves",
    "likelihood_shift",
]
