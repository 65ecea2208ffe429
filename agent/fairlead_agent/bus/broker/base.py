"""What every broker that we start can do."""

from __future__ import annotations

from typing import Protocol

from fairlead_agent.bus.address import BrokerAddress


class BrokerError(RuntimeError):
    """The broker does not start or does not answer; the text says why, on one line."""


class Broker(Protocol):
    """A broker process on this machine, reachable on the loopback interface only."""

    @property
    def label(self) -> str:
        """Name and fitness in words, e.g. 'mosquitto' or 'embedded (development)'."""
        ...

    async def start(self) -> BrokerAddress:
        """Start, wait until it answers, and return its address with the control plane's login.

        Raises:
            BrokerError: it does not come up; with the last lines of its log.
        """
        ...

    async def stop(self) -> None:
        """End the process; state on disk stays."""
        ...

    def credentials(self, client_id: str, *, control: bool = False) -> tuple[str, str]:
        """The (user name, password) of a client, made at the first call. ``control``: it may write everywhere."""
        ...

    def address(self, client_id: str, *, control: bool = False) -> BrokerAddress:
        """The broker's address with the login of ``client_id``."""
        ...
