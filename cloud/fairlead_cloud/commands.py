"""Commands that this distribution adds to ``fairlead``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fairlead_cloud.settings import PlaneSettings

_settings_option = click.option(
    "--settings", "path", type=click.Path(path_type=Path), required=True, help="A JSON file of settings."
)


@click.command("control-plane")
@_settings_option
@click.option("--log-format", type=click.Choice(["json", "console"]), default="json", show_default=True)
def control_plane(path: Path, log_format: str) -> None:
    """Run the control plane, the gateway and the dashboard."""
    from fairlead_cloud.serve import serve

    _run(serve, path, log_format)


@click.command()
@_settings_option
@click.option("--log-format", type=click.Choice(["json", "console"]), default="json", show_default=True)
def authority(path: Path, log_format: str) -> None:
    """Run a site's stand-alone authority: it issues epochs where no control plane does."""
    from fairlead_cloud.serve import serve_authority

    _run(serve_authority, path, log_format)


def _run(what: Callable[[PlaneSettings], Coroutine[Any, Any, None]], path: Path, log_format: str) -> None:
    from fairlead_agent.daemon.identity import IdentityError
    from fairlead_agent.runtime.logging import configure
    from fairlead_cloud.broker_login import LoginError
    from fairlead_cloud.keys import KeyFileError
    from fairlead_cloud.serve import SettingsFileError, read_settings
    from fairlead_cloud.store import DatabaseError

    configure("console" if log_format == "console" else "json")
    try:
        asyncio.run(what(read_settings(path)))
    except (SettingsFileError, LoginError, KeyFileError, DatabaseError, IdentityError) as error:
        raise click.ClickException(str(error)) from None
