"""From settings to a broker's address."""

from __future__ import annotations

from fairlead_agent.bus.address import BrokerAddress
from fairlead_cloud.settings import BrokerLogin, PlaneSettings


class LoginError(RuntimeError):
    """The password file cannot be read."""


def broker_address(settings: PlaneSettings, login: BrokerLogin) -> BrokerAddress:
    """The broker as the client with ``login`` sees it.

    Raises:
        LoginError: names the file, never its content.
    """
    return BrokerAddress(
        host=settings.broker_host,
        port=settings.broker_port,
        username=login.username,
        password=_password(login),
        ca_file=settings.broker_ca_file,
    )


def _password(login: BrokerLogin) -> str | None:
    if login.password_file is None:
        return None
    try:
        return login.password_file.read_text().strip()
    except OSError as error:
        raise LoginError(f"password_file {login.password_file}: {error.strerror}") from None
