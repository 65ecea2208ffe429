"""Which retrieval workload a command speaks to."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

from fairlead_agent.cli.api_client import find_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import workload_names

from ..client import Client, RequestRefused
from ..errors import TieredRetrievalError

PLUGIN = "tiered_retrieval"


def with_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say whom to ask; the command gets ``client``, and errors become one line."""

    @click.option("--workload", "-w", shell_complete=workload_names, help="Default: the only one of this plugin.")
    @click.option("--service", help="Address of a service without a gateway, e.g. http://127.0.0.1:8400.")
    @click.option("--url", help="The control plane's address [env: FAIRLEAD_URL].")
    @click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
    @functools.wraps(command)
    def wrapped(
        *args: Any, workload: str | None, service: str | None, url: str | None, token: str | None, **given: Any
    ) -> Any:
        try:
            with connect(workload, service, url, token) as client:
                return command(*args, client=client, **given)
        except (TieredRetrievalError, OSError) as error:
            raise CliError(_said(error)) from None

    return wrapped


def connect(workload: str | None, service: str | None, url: str | None, token: str | None) -> Client:
    """Find the service.

    Raises:
        CliError: there is none, or more than one to choose from.
    """
    if service:
        return Client(service, token=token)
    gateway = find_client(url, token)
    name = workload or os.environ.get("FAIRLEAD_WORKLOAD") or _only(gateway.get("/api/v1/workloads"))
    return Client(gateway.url, token=gateway.token, workload=name)


def _only(workloads: list[dict[str, Any]]) -> str:
    names = [each["name"] for each in workloads if each["workload"]["plugin"] == PLUGIN]
    if len(names) == 1:
        return names[0]
    if not names:
        raise CliError("no retrieval workload is there: start one with `fairlead apply retrieval`")
    raise CliError(f"there are several retrieval workloads: choose one of {', '.join(names)} with --workload")


def _said(error: Exception) -> str:
    if isinstance(error, RequestRefused) and error.status == 0:
        return f"nobody answers: {error}"
    return str(error)
