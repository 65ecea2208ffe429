"""What can go wrong here, by name."""

from __future__ import annotations


class IsacError(ValueError):
    """Base of this plugin's errors: the message names the field, the value and what is accepted."""


class NotFound(IsacError):
    """A request, user or target that is not there."""


class MissingExtra(IsacError):
    """A package that is not installed; the message names the extra that brings it."""


class RadioUnavailable(IsacError):
    """No radio of the asked kind can be had here, or the one that was there is gone."""
