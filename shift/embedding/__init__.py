"""Texts to points: any SentenceTransformer, by id or directory, with its results kept on disk."""

from shift.embedding.embedder import Embedder

__all__ = ["Embedder"]
