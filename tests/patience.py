"""How long tests wait for real processes: limits that only end a hopeless wait, and paces that a process must keep.

An emulated or overloaded machine runs the same code many times slower. ``FAIRLEAD_TEST_PATIENCE`` (1 where it is not
set) stretches both alike, so that a test asserts the same there.
"""

from __future__ import annotations

import os
from dataclasses import replace

from fairlead_agent.runtime.settings import SupervisorSettings

FACTOR = float(os.environ.get("FAIRLEAD_TEST_PATIENCE", "1"))
if FACTOR < 1:
    raise ValueError(f"FAIRLEAD_TEST_PATIENCE is {FACTOR:g}; accepted is a factor of 1 or more")


def patient(seconds: float) -> float:
    """``seconds`` of a machine that runs at full speed."""
    return seconds * FACTOR


def growing(seconds: float, factor: float = 5, attempts: int = 3) -> list[float]:
    """Limits of attempts one after the other: where a machine stands still for longer than the first, a later one tells
    what the first cannot.
    """
    return [patient(seconds) * factor**attempt for attempt in range(attempts)]


def supervisor_settings() -> SupervisorSettings:
    """The supervisor's own limits, stretched."""
    usual = SupervisorSettings()
    stretched = ("probe_timeout_s", "connect_timeout_s", "stop_grace_s", "shrink_settle_s")
    return replace(usual, **{name: patient(getattr(usual, name)) for name in stretched})
