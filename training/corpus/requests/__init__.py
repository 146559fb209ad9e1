"""The project's own corpus of user requests: wishes that must not be served, and twins close in wording that may."""

from training.corpus.requests.corpus import rows

__all__ = ["rows"]
