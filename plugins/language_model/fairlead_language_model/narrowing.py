"""Narrows values that come from JSON or from metadata."""

from __future__ import annotations

from typing import Any, cast


def as_object(value: object) -> dict[str, Any] | None:
    """Return a JSON object as such, or None where the value is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[Any] | None:
    """Return a list as such, or None where the value is something else."""
    return cast("list[Any]", value) if isinstance(value, list) else None
