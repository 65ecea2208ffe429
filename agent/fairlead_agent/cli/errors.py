"""Errors that a user sees as one line."""

from __future__ import annotations

import click


class CliError(click.ClickException):
    """One clear line on standard error, and exit status 1."""


class UnreachableError(CliError):
    """Nothing answers at the control plane's address."""
