"""Codes of vectors: what an index keeps in memory and asks before it reads exact vectors from the tier."""

from .quantizer import Quantizer
from .reads import must_read

__all__ = ["Quantizer", "must_read"]
