"""What an agent is started with."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.messages.base import Name
from fairlead_agent.messages.envelope import describe


class SettingsError(RuntimeError):
    """Settings that cannot be read or do not fit; the text names file, field, value and what is accepted."""


class BrokerSettings(BaseModel):
    """The site's broker. The password is read from a file, so that it is in no argument list and no environment."""

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def address(self) -> BrokerAddress:
        """The broker as this client sees it.

        Raises:
            SettingsError: the password file cannot be read; its content is never shown.
        """
        return BrokerAddress(
            self.host, self.port, self.username, self._password(), self.ca_file, self.cert_file, self.key_file
        )

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise SettingsError(f"password_file {self.password_file}: {error.strerror}") from None


class AgentSettings(BaseModel):
    """Settings of one agent; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    site: Name = "local"
    node: Name
    profile: str = Field(default="edge-box", description="A profile's name, or the path of its file.")
    state_dir: Path
    broker: BrokerSettings = BrokerSettings()
    site_keys: dict[str, str] = Field(
        description="The site's public Ed25519 keys, base64, by key id: desired state signed by no other is accepted."
    )
    lease_ttl_s: float = Field(default=15.0, ge=0.5, le=3600)
    dwell_s: float = Field(default=60.0, ge=0, le=86_400, description="Least time that a replica stays where it is.")
    data_host: str = Field(default="127.0.0.1", description="Address on which workers serve peers directly.")
    plugin_path: tuple[Path, ...] = Field(default=(), description="Folders of plugins beside the installed ones.")
    log_format: str = Field(default="json", pattern="^(json|console)$")
    roots: dict[Literal["sys", "proc", "dev"], str] = Field(
        default_factory=dict[Any, str],
        description="Other trees than /sys, /proc, /dev; they count as simulated.",
    )
    sense_interval_s: float = Field(default=5.0, ge=0.2, le=3600, description="How often live facts are read.")

    @field_validator("site_keys")
    @classmethod
    def _are_keys(cls, keys: dict[str, str]) -> dict[str, str]:
        for name, text in keys.items():
            try:
                raw = base64.b64decode(text, validate=True)
            except binascii.Error:
                raw = b""
            if len(raw) != 32:
                raise ValueError(f"key {name!r} is not 32 bytes in base64, which an Ed25519 public key is")
        return keys

    def public_keys(self) -> dict[str, bytes]:
        """The site's keys, raw, by key id."""
        return {name: base64.b64decode(text) for name, text in self.site_keys.items()}


def read_settings(path: Path) -> AgentSettings:
    """Read an agent's settings file (JSON).

    Raises:
        SettingsError: it is missing, unreadable, or a field does not fit.
    """
    try:
        return AgentSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise SettingsError(f"{path}: {describe(error)}") from None
