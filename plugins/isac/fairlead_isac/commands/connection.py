"""Which scheduler a command speaks to."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import click
import httpx

from fairlead_agent.cli.api_client import find_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import workload_names

PLUGIN = "isac"


class Service:
    """A running scheduler, behind the gateway or by itself.

    Args:
        url: of the service; routes follow.
        token: for the gateway.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30.0)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Any = None, accepted: tuple[int, ...] = (200, 201)) -> Any:
        """Ask; return the answer's JSON.

        Raises:
            CliError: nobody answers, or the answer is an error; its words are passed on.
        """
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise CliError(f"nobody answers at {self._http.base_url}: {error}") from None
        return _json(answer.status_code, answer.text, accepted)

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Server-sent events as they come.

        Raises:
            CliError: as for :meth:`call`, also where the stream breaks off.
        """
        try:
            with self._http.stream("GET", path, timeout=httpx.Timeout(30.0, read=None)) as answer:
                if answer.status_code != 200:
                    answer.read()
                    _json(answer.status_code, answer.text, (200,))
                kind = ""
                for line in answer.iter_lines():
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        yield kind, json.loads(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            raise CliError(f"the stream broke off: {error}") from None


def _json(status: int, text: str, accepted: tuple[int, ...]) -> Any:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if status in accepted and body is not None:
        return body
    said = body.get("error", body.get("detail")) if isinstance(body, dict) else None
    message = said.get("message") if isinstance(said, dict) else said
    raise CliError(str(message or f"the answer was {status}: {text[:200]}"))


def with_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say whom to ask; the command gets ``service``."""

    @click.option("--workload", "-w", shell_complete=workload_names, help="Default: the only one of this plugin.")
    @click.option("--service", "address", help="Of a scheduler without a gateway, e.g. http://127.0.0.1:8400.")
    @click.option("--url", help="The control plane's address [env: FAIRLEAD_URL].")
    @click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
    @functools.wraps(command)
    def wrapped(
        *args: Any, workload: str | None, address: str | None, url: str | None, token: str | None, **given: Any
    ) -> Any:
        with connect(workload, address, url, token) as service:
            return command(*args, service=service, **given)

    return wrapped


def connect(workload: str | None, address: str | None, url: str | None, token: str | None) -> Service:
    """Find the scheduler.

    Raises:
        CliError: there is none, or more than one to choose from.
    """
    if address:
        return Service(address, token)
    gateway = find_client(url, token)
    name = workload or os.environ.get("FAIRLEAD_WORKLOAD") or _only(gateway.get("/api/v1/workloads"))
    return Service(f"{gateway.url.rstrip('/')}/workloads/{quote(name, safe='')}", gateway.token)


def _only(workloads: list[dict[str, Any]]) -> str:
    names = [each["name"] for each in workloads if each["workload"]["plugin"] == PLUGIN]
    if len(names) == 1:
        return names[0]
    if not names:
        raise CliError("no workload of the plugin isac is there: start one with `fairlead apply isac`")
    raise CliError(f"there are several workloads of the plugin isac: choose one of {', '.join(names)} with --workload")
