"""A PostgreSQL server of our own for the tests that need one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead_agent.bus.broker.process import free_port
from tests.patience import patient


def programs() -> Path | None:
    """The newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    beside = shutil.which("initdb")
    return Path(beside).parent if beside else None


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The URL of a fresh server; skips where none is installed or root has no other user to run it as."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")
    user = _unprivileged()
    directory = Path(tempfile.mkdtemp(prefix="fairlead-postgres-"))
    try:
        if user is not None:
            os.chown(directory, user.pw_uid, user.pw_gid)
        yield from _serve(folder, directory, user)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _serve(folder: Path, directory: Path, user: pwd.struct_passwd | None) -> Iterator[str]:
    port, data = free_port(), directory / "data"
    _run(user, directory, folder / "initdb", "-D", data, "-U", "fairlead", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"
    control = (folder / "pg_ctl", "-D", data, "-w", "-t", str(round(patient(100))))
    _run(user, directory, *control, "-l", directory / "log", "-o", options, "start")
    try:
        yield f"postgresql+asyncpg://fairlead@127.0.0.1:{port}/postgres"
    finally:
        _run(user, directory, *control, "-m", "immediate", "stop")


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("root, and no user 'postgres' or 'nobody' to run PostgreSQL as")


def _run(user: pwd.struct_passwd | None, directory: Path, *command: object) -> None:
    who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=patient(120),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(directory)},
        **who,  # type: ignore[arg-type]
    )
