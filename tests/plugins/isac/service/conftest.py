"""Cells that wait for each other for as long as a machine may stand still."""

from __future__ import annotations

import pytest

from fairlead_isac.service import forwarding, handing, partners
from tests.patience import patient


@pytest.fixture(autouse=True)
def patient_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has ended refuses at once; who is slow is waited for."""
    for module, name in ((partners, "TIMEOUT_S"), (handing, "TIMEOUT_S"), (forwarding, "SILENT_S")):
        monkeypatch.setattr(module, name, patient(60.0))
