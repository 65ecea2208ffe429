"""How tests share a machine when several run at once (`pytest -n`).

Tests that compute are given out by file. Tests of processes, which wait for each other and look at the time, run one
after another within their group, ahead of the others and with the higher priority. One of them that fails is run once
more, as a machine that many share may stand still for seconds; the summary tells of it (`RERUN`).
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from xdist.scheduler import LoadGroupScheduling

GROUPS = {
    "processes": (
        "agent/bus/",
        "agent/cli/",
        "agent/daemon/",
        "agent/plugin/",
        "agent/runtime/",
        "cloud/",
        "firmware_bridge/",
        "plugins/elastic_serving/faults/test_killed_stage.py",
        "plugins/elastic_serving/group/test_membership.py",
        "plugins/elastic_serving/group/test_processes.py",
        "plugins/elastic_serving/links/",
        "plugins/elastic_serving/load/",
        "plugins/elastic_serving/test_peering.py",
        "plugins/sparse_inference/test_hosted.py",
    ),
    "fleet": ("aarch64/", "fleet/"),
}
PLACES = {f"tests/{place}": group for group, places in GROUPS.items() for place in places}
PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
BEHIND = 10

# Slowness fails no test: neither of the machine, nor of those who share it.
settings.register_profile("patient", deadline=None)
# For code that a sanitizer makes several times slower, and that runs without it too.
settings.register_profile("sanitized", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("patient")
if PARALLEL:
    os.environ.setdefault("FAIRLEAD_TEST_PATIENCE", "2")
    # Set in each worker: what a command prints into a pipe is as wide as it wants to be.
    os.environ.pop("COLUMNS", None)
    os.environ.pop("LINES", None)
    # Read when numpy and torch are imported: threads that spin for each other stall where each worker has its own.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def _file(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]


def _group(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("xdist_group")
    if marker is not None:
        return marker.args[0]
    return next((group for place, group in PLACES.items() if item.nodeid.startswith(place)), None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: the tests of processes wait for most of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadGroupScheduling | None:
    """Give out whole files, so that fixtures of a module are made once, and groups as they are marked."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByFileOrGroup(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = super()._split_scope(nodeid)
            return _file(nodeid) if scope == nodeid else scope

    config.option.loadscopereorder = False
    return ByFileOrGroup(config, log)  # pyright: ignore[reportArgumentType]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports make a million objects that stay: looking for garbage among them, then and in every test, is in vain."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order what is given out: groups, files with slow tests, files with many tests."""
    if not PARALLEL:
        return
    for item in items:
        if (group := _group(item)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))
        # A crowded machine can keep a thread waiting at any line; what is wrong fails twice, and the summary tells.
        item.add_marker(pytest.mark.flaky(reruns=1))
    sizes = Counter(_file(item.nodeid) for item in items)
    slow = {_file(item.nodeid) for item in items if item.get_closest_marker("slow")}

    def place(item: pytest.Item) -> tuple[int, int, str]:
        file = _file(item.nodeid)
        return (0, 0, "") if _group(item) else (2 - (file in slow), -sizes[file], file)

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Computing takes the time that processes leave."""
    if PARALLEL and _group(item) is None:
        os.nice(max(0, BEHIND - os.nice(0)))
