"""What a check of a plugin found."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line of `fairlead plugins validate`."""

    level: Literal["error", "warning", "ok"]
    check: str
    """What was looked at: manifest, light, worker, commands, validate, probe, describe, estimate."""
    message: str
