"""Training objectives on `transformers.Trainer` and `peft`: one file an objective, its config beside it."""

from trainers.train import OBJECTIVES, train

__all__ = ["OBJECTIVES", "train"]
