"""Eclipse mosquitto as a child process: the broker for production on one machine."""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import shutil
import signal
from pathlib import Path

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.access import acl_file
from fairlead_agent.bus.broker.accounts import CONTROL_USER, Accounts, write_private
from fairlead_agent.bus.broker.base import BrokerError
from fairlead_agent.bus.broker.process import BrokerProcess, free_port
from fairlead_agent.messages import MAX_MESSAGE_BYTES

#: Where distributions put the program, besides PATH.
EXTRA_PATHS = "/usr/sbin:/usr/local/sbin"
PBKDF2_ITERATIONS = 101


def find_mosquitto() -> str | None:
    """The program's path, or None where it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=EXTRA_PATHS)


class MosquittoBroker:
    """Mosquitto on the loopback interface, with a login and rules for every client.

    Args:
        directory: its files: configuration, logins, database, log. Made with mode 0700.
        port: where it listens; default: a free port, kept over restarts.
        site: the site whose topics are open; default: any.
        save_every_s: seconds between saves of the database; default: it is saved at every change, so that a SIGKILL
            loses nothing, and hundreds of agents wait for it.

    A client's id is its user name (``use_username_as_clientid``), so that no client can throw another one out.
    """

    def __init__(
        self, directory: Path, *, port: int | None = None, site: str = "+", save_every_s: int | None = None
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = port or free_port()
        self._directory = directory
        self._site = site
        self._save_every_s = save_every_s
        self._accounts = Accounts(directory / "accounts.json", fresh=False)
        self.process = BrokerProcess("mosquitto", directory / "mosquitto.log")

    @property
    def label(self) -> str:
        """'mosquitto'."""
        return "mosquitto"

    async def start(self) -> BrokerAddress:
        """Start, wait until it answers, and return its address with the control plane's login."""
        program = find_mosquitto()
        if program is None:
            raise BrokerError("mosquitto is not installed (looked on PATH and in " + EXTRA_PATHS + ")")
        self._write_files()
        await self.process.start(program, "-c", str(self._directory / "mosquitto.conf"), port=self.port)
        return self.address(CONTROL_USER, control=True)

    async def stop(self) -> None:
        """End the process; its database stays."""
        await self.process.stop()

    def credentials(self, client_id: str, *, control: bool = False) -> tuple[str, str]:
        """The (user name, password) of a client; a running broker is told of a new one."""
        known = set(self._accounts)
        account = self._accounts.get(client_id, control=control)
        if account not in known and self.process.pid is not None:
            self._write_files()
            self.process.signal(signal.SIGHUP)
        return account.user, account.password

    def address(self, client_id: str, *, control: bool = False) -> BrokerAddress:
        """The broker's address with the login of ``client_id``."""
        return BrokerAddress("127.0.0.1", self.port, *self.credentials(client_id, control=control))

    def _write_files(self) -> None:
        accounts = list(self._accounts)
        lines = [f"{account.user}:{password_hash(account.password, os.urandom(12))}" for account in accounts]
        write_private(self._directory / "passwords", "\n".join(lines) + "\n")
        control = [account.user for account in accounts if account.control]
        write_private(self._directory / "acl", acl_file(self._site, control))
        write_private(self._directory / "mosquitto.conf", self._configuration())

    def _configuration(self) -> str:
        # Persistence: without these three lines nothing survives a SIGKILL. Queues: the default silently drops what
        # exceeds 1,000 messages. User: as root, mosquitto would give up its rights and could not read its files.
        return "\n".join(
            (
                f"listener {self.port} 127.0.0.1",
                "allow_anonymous false",
                f"password_file {self._directory / 'passwords'}",
                f"acl_file {self._directory / 'acl'}",
                "use_username_as_clientid true",
                "persistence true",
                f"persistence_location {self._directory}/",
                f"autosave_on_changes {'true' if self._save_every_s is None else 'false'}",
                f"autosave_interval {self._save_every_s or 1}",
                "persistent_client_expiration 1d",
                "max_queued_messages 100000",
                "set_tcp_nodelay true",
                f"max_packet_size {MAX_MESSAGE_BYTES + 65_536}",
                f"user {getpass.getuser()}",
                "log_dest stderr",
                "log_type error",
                "log_type warning",
                "",
            )
        )


def password_hash(password: str, salt: bytes) -> str:
    """A line of mosquitto's password file: ``$7$iterations$salt$hash``, PBKDF2 with SHA-512 (mosquitto 2.0).

    The passwords are random and long, so that the iterations do not have to make guessing slow.
    """
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PBKDF2_ITERATIONS, 64)
    parts = (base64.b64encode(part).decode() for part in (salt, derived))
    return f"$7${PBKDF2_ITERATIONS}$" + "$".join(parts)
