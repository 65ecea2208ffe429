"""Commands that this distribution adds to ``fairlead``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

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


def _run(what: object, path: Path, log_format: str) -> None:
    from fairlead_agent.runtime.logging import configure
    from fairlead_cloud.broker_login import LoginError
    from fairlead_cloud.keys import KeyFileError
    from fairlead_cloud.serve import SettingsFileError, read_settings
    from fairlead_cloud.store import DatabaseError

    configure("console" if log_format == "console" else "json")
    assert callable(what)
    try:
        asyncio.run(what(read_settings(path)))
    except (SettingsFileError, LoginError, KeyFileError, DatabaseError) as error:
        raise click.ClickException(str(error)) from None
