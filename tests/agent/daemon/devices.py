"""Devices for tests of what an agent makes of its hardware."""

from __future__ import annotations

from typing import Any

from fairlead_agent.config import AgentProfile
from fairlead_agent.daemon.device import Device
from fairlead_agent.daemon.readings import Readings

GIB = 1 << 30

READINGS: dict[str, Any] = {
    "at_unix_s": 1000.0,
    "architecture": "x86_64",
    "model": "test",
    "features": ("avx2",),
    "cores": 4,
    "load": 0.25,
    "memory_total_bytes": 8 * GIB,
    "memory_available_bytes": 6 * GIB,
    "memory_pressure": 0.0,
    "storage_total_bytes": 100 * GIB,
    "storage_free_bytes": 50 * GIB,
    "battery_charge": None,
    "battery_charging": False,
    "temperature_celsius": None,
    "thermal_headroom_celsius": None,
    "power_watts": None,
    "gpus": (),
    "pretended": False,
}


def device(profile: dict[str, Any] | None = None, **readings: Any) -> Device:
    """A device named ``edge``."""
    return Device(
        "edge",
        AgentProfile.model_validate({"name": "box", **(profile or {})}),
        Readings(**{**READINGS, **readings}),
    )
