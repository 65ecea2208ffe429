"""The embedded broker: amqtt in a process of its own, for development where no mosquitto is installed.

The agent never imports amqtt; ``python -m fairlead_agent.bus.broker.embedded`` does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.accounts import CONTROL_USER, Accounts
from fairlead_agent.bus.broker.process import BrokerProcess, free_port


class EmbeddedBroker:
    """A pure-Python MQTT 3.1.1 broker on the loopback interface. For development: some thousand messages a second.

    Args:
        directory: its files: logins, log, retained state. Made with mode 0700.
        port: where it listens; default: a free port, kept over restarts.
        site: the site whose topics are open; default: any.
    """

    def __init__(self, directory: Path, *, port: int | None = None, site: str = "+") -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = port or free_port()
        self._directory = directory
        self._site = site
        self._accounts = Accounts(directory / "accounts.json", fresh=True)
        self._accounts.save()
        self.process = BrokerProcess("embedded broker", directory / "embedded.log")

    @property
    def label(self) -> str:
        """'embedded (development)'."""
        return "embedded (development)"

    async def start(self) -> BrokerAddress:
        """Start, wait until it answers, and return its address with the control plane's login."""
        module = "fairlead_agent.bus.broker.embedded"
        options = ("--directory", str(self._directory), "--port", str(self.port), "--site", self._site)
        await self.process.start(sys.executable, "-m", module, *options, port=self.port)
        return self.address(CONTROL_USER, control=True)

    async def stop(self) -> None:
        """End the process."""
        await self.process.stop()

    def credentials(self, client_id: str, *, control: bool = False) -> tuple[str, str]:
        """The (user name, password) of a client; the running broker reads them when the client comes."""
        account = self._accounts.get(client_id, control=control)
        return account.user, account.password

    def address(self, client_id: str, *, control: bool = False) -> BrokerAddress:
        """The broker's address with the login of ``client_id``."""
        return BrokerAddress("127.0.0.1", self.port, *self.credentials(client_id, control=control))


def main() -> None:
    """Run the broker in this process until SIGTERM."""
    parser = argparse.ArgumentParser(prog="fairlead_agent.bus.broker.embedded", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--site", default="+")
    options = parser.parse_args()
    from fairlead_agent.bus.broker.embedded_server import serve

    serve(options.directory, options.port, options.site)


if __name__ == "__main__":
    main()
