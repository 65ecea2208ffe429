"""Fields that a `config.json` must hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError


def required(raw: Mapping[str, Any], name: str, file: Path | str) -> Any:
    """Return a field; raises ConfigError where it is missing."""
    if raw.get(name) is None:
        raise ConfigError(file, name, None, "a positive integer (the field is missing)")
    return raw[name]
