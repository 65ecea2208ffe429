"""What the tests of the gateway share."""

from __future__ import annotations

import pytest

from tests.patience import patient


@pytest.fixture(autouse=True)
def _patient_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has no turn is not taken for one that is away, nor a connection between two requests for idle."""
    monkeypatch.setattr("fairlead_cloud.gateway.sender.CONNECT_TIMEOUT_S", patient(60))
    monkeypatch.setattr("fairlead_cloud.gateway.sender.KEEPALIVE_S", patient(600))
