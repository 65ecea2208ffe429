from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fairlead_bridge
from fairlead_bridge.link import LinkSensor
from fairlead_bridge.link_watch import LinkWatch

PROBE = Path(__file__).with_name("namespace_probe.py")
PACKAGES = str(Path(fairlead_bridge.__file__).parents[1])


def in_a_namespace(scene: str) -> dict[str, Any]:
    """What the probe heard in a network namespace of its own."""
    pytest.importorskip("pyroute2", reason="the probe makes its links with pyroute2")
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True, timeout=60).returncode:
        pytest.skip("no private network namespace is permitted here")
    paths = os.pathsep.join([PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [unshare, "-rn", sys.executable, str(PROBE), scene],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if "Unknown device type" in done.stderr or "Operation not supported" in done.stderr:
        pytest.skip("this kernel has no veth links")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_life_of_a_link_is_heard() -> None:
    heard = in_a_namespace("life")
    assert heard == {"new": "link", "address": "192.0.2.1/24", "running": True, "read": True, "gone": True}


def test_lost_events_are_announced_and_the_watch_goes_on() -> None:
    assert in_a_namespace("flood") == {"after": "link_gone"}


def test_only_the_kernel_is_believed() -> None:
    assert in_a_namespace("forgery") == {"first": "lo"}


def open_watch() -> LinkWatch:
    try:
        return LinkSensor().watch()
    except OSError as error:
        pytest.skip(f"no netlink socket is permitted here: {error}")


async def test_closing_ends_the_iteration_of_a_waiting_task() -> None:
    watch = open_watch()

    async def drain() -> str:
        async for _ in watch:
            pass
        return "ended"

    task = asyncio.create_task(drain())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    watch.close()
    assert await asyncio.wait_for(task, 60) == "ended"


async def test_a_cancelled_task_stays_cancelled_and_the_watch_usable() -> None:
    async with open_watch() as watch:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                while True:
                    await anext(watch)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                while True:
                    await anext(watch)
