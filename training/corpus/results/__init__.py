"""The project's own corpus of tool results: clean ones, and the same with an injected text."""

from training.corpus.results.corpus import rows

__all__ = ["rows"]
