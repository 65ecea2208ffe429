"""The logins of a broker's clients, in a file that only its owner can read."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: The account of the control plane.
CONTROL_USER = "control-plane"


@dataclass(frozen=True, slots=True)
class Account:
    """One client's login. ``control``: it may read and write everything of the site."""

    user: str
    password: str = field(repr=False)
    control: bool = False


class Accounts:
    """All logins by user name.

    Args:
        path: the JSON file; written with mode 0600.
        fresh: begin with new passwords, whatever the file says.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self._accounts: dict[str, Account] = {} if fresh or not path.exists() else load(path)
        self.get(CONTROL_USER, control=True)

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._accounts.values()))

    def get(self, user: str, *, control: bool = False) -> Account:
        """The account of ``user``; a new one gets a random password and is saved.

        Raises:
            ValueError: a name that cannot stand in a topic or in a password file.
        """
        if not user or any(mark in user for mark in "+#/:\n\r\0 %"):
            raise ValueError(f"client id {user!r}: letters, digits, '-', '_' and '.' are accepted")
        account = self._accounts.get(user)
        if account is None or account.control != control:
            password = account.password if account else secrets.token_urlsafe(24)
            account = self._accounts[user] = Account(user, password, control)
            self.save()
        return account

    def save(self) -> None:
        """Write the file."""
        write_private(self._path, json.dumps([asdict(account) for account in self._accounts.values()]))


def load(path: Path) -> dict[str, Account]:
    """Read an accounts file. ValueError, with the file's name, when it is damaged."""
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text())
        accounts = [Account(str(one["user"]), str(one["password"]), bool(one["control"])) for one in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not an accounts file ({type(error).__name__})") from None
    return {account.user: account for account in accounts}


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    temporary.replace(path)
