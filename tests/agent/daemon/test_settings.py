"""An agent's settings: one clear line for what does not fit, and no secret in any."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.daemon.settings import SettingsError, read_settings

GOOD: dict[str, Any] = {"node": "edge", "state_dir": "state", "site_keys": {"k": base64.b64encode(bytes(32)).decode()}}


def write(folder: Path, **values: Any) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps({**GOOD, **values}))
    return path


def test_good_settings_are_read(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path)).public_keys() == {"k": bytes(32)}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"node": "Not A Name"}, "node"),
        ({"colour": "red"}, "colour"),
        ({"site_keys": {"k": "short"}}, "not 32 bytes"),
        ({"broker": {"port": 0}}, "broker.port"),
        ({"lease_ttl_s": -1}, "lease_ttl_s"),
        ({"roots": {"etc": "/x"}}, "roots"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        read_settings(write(tmp_path, **values))
    assert "settings.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_password_stays_in_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    settings = read_settings(write(tmp_path, broker={"username": "edge", "password_file": str(secret)}))
    address = settings.broker.address()
    assert address.password == "s3cret"
    assert "s3cret" not in repr(settings) + repr(address) + str(address)


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, broker={"password_file": str(tmp_path / "none")}))
    with pytest.raises(SettingsError, match="none"):
        settings.broker.address()
