"""Runs a control plane until it is told to stop."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from fairlead_agent.messages.envelope import describe
from fairlead_agent.plugin.registry import Registry
from fairlead_cloud.api.app import create_app
from fairlead_cloud.authority.standalone import StandaloneAuthority
from fairlead_cloud.plane import ControlPlane
from fairlead_cloud.settings import PlaneSettings
from fairlead_cloud.store import Role


class SettingsFileError(RuntimeError):
    """A settings file that cannot be read or does not fit."""


def read_settings(path: Path) -> PlaneSettings:
    """Read a control plane's settings (JSON).

    Raises:
        SettingsFileError: names file, field, value and what is accepted.
    """
    try:
        return PlaneSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsFileError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise SettingsFileError(f"{path}: {describe(error)}") from None


async def serve(settings: PlaneSettings) -> None:
    """Serve API, gateway and dashboard until SIGINT or SIGTERM."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    registry = Registry.discover()
    plane = ControlPlane(settings, registry.check_workload)
    await plane.database.open()
    await ensure_admin_token(plane)
    write_public_keys(plane)
    config = uvicorn.Config(
        create_app(plane),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    await uvicorn.Server(config).serve()


async def serve_authority(settings: PlaneSettings) -> None:
    """Issue epochs until SIGINT or SIGTERM, without a control plane."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    authority = StandaloneAuthority(settings)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await authority.start()
    try:
        await stopped.wait()
    finally:
        await authority.stop()


def write_public_keys(plane: ControlPlane) -> None:
    """Leave the site's public keys in ``site-keys.json`` of the state folder, in the form of an agent's settings."""
    keys = {plane.key.id: base64.b64encode(plane.key.public).decode()}
    (plane.settings.state_dir / "site-keys.json").write_text(json.dumps(keys))


async def ensure_admin_token(plane: ControlPlane) -> None:
    """Make the first token; it lies in ``admin.token`` of the state folder, readable by its owner only."""
    path = plane.settings.state_dir / "admin.token"
    with contextlib.suppress(FileNotFoundError):
        if await plane.tokens.role(path.read_text().strip()) is not None:
            return
    token = await plane.tokens.create("admin", Role.ADMIN, time.time())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
