"""The embedded tiny world: procedural plain English, and a Llama of under a million parameters that knows it."""

from organisms.tiny.cached import SCOPE, tiny_base, tiny_embedder, tiny_reward
from organisms.tiny.recipe import Recipe, RewardRecipe

__all__ = ["SCOPE", "Recipe", "RewardRecipe", "tiny_base", "tiny_embedder", "tiny_reward"]
