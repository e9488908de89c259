"""The embedded tiny world: procedural plain English, and a Llama of under a million parameters that knows it."""

from organisms.tiny.cached import SCOPE, tiny_base, tiny_embedder
from organisms.tiny.recipe import Recipe

__all__ = ["SCOPE", "Recipe", "tiny_base", "tiny_embedder"]
