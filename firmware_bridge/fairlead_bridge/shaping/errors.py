"""What goes wrong with a plan, and with its application."""

from __future__ import annotations


class ShapingError(Exception):
    """The base of what this package raises. The previous state is in force, where the message says nothing else."""


class PlanError(ShapingError, ValueError):
    """A plan that cannot be carried out by any kernel: names the field, its value and what is accepted."""

    def __init__(self, field: str, value: object, accepted: str) -> None:
        super().__init__(f"{field}: {value!r}; accepted: {accepted}")
        self.field = field
        self.value = value
        self.accepted = accepted


class ApplyError(ShapingError):
    """The kernel refused a step; what had been done was undone. ``number`` is its error number, 0 without one."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


class RollbackError(ShapingError):
    """The previous state could not be restored whole; the journal is kept, and ``recover`` tries again."""
