"""What is wrong with a configuration file."""

from __future__ import annotations


class ConfigError(ValueError):
    """One line for each thing that is wrong: file:line, key, value, what is accepted."""
