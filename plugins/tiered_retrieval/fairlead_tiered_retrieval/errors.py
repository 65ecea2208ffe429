"""What can go wrong here, by name."""

from __future__ import annotations


class TieredRetrievalError(ValueError):
    """Base of this plugin's errors: the message names the field, the value and what is accepted."""
