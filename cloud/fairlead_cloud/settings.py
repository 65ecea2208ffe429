"""What a control plane is started with."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fairlead_agent.messages.base import Name


class BrokerLogin(BaseModel):
    """One client's login at the broker. The password is read from a file, so that it is in no argument list."""

    model_config = ConfigDict(extra="forbid")

    username: str | None = None
    password_file: Path | None = None


class PlaneSettings(BaseModel):
    """Settings of a control plane; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    site: Name = "local"
    node: Name = Field(default="control-plane", description="Its id on the bus.")
    state_dir: Path = Path(".fairlead/control-plane")
    database_url: str | None = Field(default=None, description="Default: SQLite in state_dir.")
    host: str = "127.0.0.1"
    port: int = Field(default=8470, ge=0, le=65535)
    broker_host: str = "127.0.0.1"
    broker_port: int = Field(default=1883, ge=1, le=65535)
    broker_ca_file: Path | None = None
    login: BrokerLogin = BrokerLogin()
    authority_login: BrokerLogin = BrokerLogin()
    run_authority: bool = Field(default=True, description="False where the site has a stand-alone authority.")
    lease_ttl_s: float = Field(default=15.0, ge=0.5, le=3600)
    dwell_s: float = Field(default=60.0, ge=0, le=86_400, description="Least time that a replica stays where it is.")
    gateway_wait_s: float = Field(default=20.0, ge=0, description="How long a request waits for a ready replica.")

    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite+aiosqlite:///{(self.state_dir / 'fairlead.db').absolute()}"
