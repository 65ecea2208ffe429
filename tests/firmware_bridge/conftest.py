"""Fake devices below the test's own directory."""

from __future__ import annotations

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
