"""What can be wrong with a plugin."""

from __future__ import annotations


class PluginUnavailable(RuntimeError):
    """The plugin cannot be used here now: it is not installed, does not fit, failed to load or is quarantined."""


class PluginFailed(RuntimeError):
    """A hook raised, hung, or returned what the contract does not know."""
