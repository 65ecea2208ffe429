"""Speculative decoding: cheap guesses at the next tokens, all checked by one call of the model."""

from .accept import accept
from .draft import Draft, Drafter, DraftSource, NoDrafts
from .draft_model import DraftModel
from .length import GuessLength
from .ngram import NgramSource

__all__ = ["Draft", "DraftModel", "DraftSource", "Drafter", "GuessLength", "NgramSource", "NoDrafts", "accept"]
