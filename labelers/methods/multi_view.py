"""Multi-view: the plain greedy answer, kept where another form of the prompt leads to the same answer.

A filter: rows on which no view agrees are dropped, with the reason, and count in the manifest.
"""

from __future__ import annotations

from labelers.method import Method, MethodConfig
from labelers.proposals import Views
from labelers.scorers import Agreement
from labelers.selectors import KeepIfAgrees


class MultiViewConfig(MethodConfig):
    """No settings of its own; the views' instructions are `proposals.VIEWS`."""


class MultiView(Method):
    """Label the rows whose plain answer another view confirms."""

    name = "multi_view"
    config_class = MultiViewConfig

    def compose(self) -> None:
        """3 greedy views x agreement x keep_if_agrees."""
        self.proposal = Views(self.config.max_new_tokens)
        self.scorer, self.selector = Agreement(), KeepIfAgrees()
