"""Where a broker listens, and with what a client proves who it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """An MQTT broker as one client sees it. TLS is used when ``ca_file`` or ``cert_file`` is given.

    ``repr`` never shows the password, so that an address may stand in a log line.
    """

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = field(default=None, repr=False)

    def __str__(self) -> str:
        user = f"{self.username}@" if self.username else ""
        scheme = "mqtts" if self.tls else "mqtt"
        return f"{scheme}://{user}{self.host}:{self.port}"

    @property
    def tls(self) -> bool:
        """True where the connection is encrypted."""
        return self.ca_file is not None or self.cert_file is not None

    def with_login(self, username: str, password: str) -> BrokerAddress:
        """The same broker for another client."""
        return BrokerAddress(self.host, self.port, username, password, self.ca_file, self.cert_file, self.key_file)
