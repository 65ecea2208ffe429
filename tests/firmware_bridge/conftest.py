"""Fake devices below the test's own directory."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.firmware_bridge.trees import Device, edge_box, phone, server


@pytest.fixture
def a_phone(tmp_path: Path) -> Device:
    return phone(tmp_path / "phone")


@pytest.fixture
def an_edge_box(tmp_path: Path) -> Device:
    return edge_box(tmp_path / "edge")


@pytest.fixture
def a_server(tmp_path: Path) -> Device:
    return server(tmp_path / "server")


@pytest.fixture
def an_unprivileged_user() -> Iterator[None]:
    """File permissions do not bind root, so root becomes nobody for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def an_open_server() -> Iterator[Device]:
    """Under a directory that every user may enter, unlike those of tmp_path."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        device = server(Path(directory) / "server")
        for name in ("sys/class/powercap/intel-rapl:0/energy_uj", "proc/meminfo"):
            os.chmod(device.root / name, 0)
        yield device
