"""Reads an instance's metrics through the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from fairlead_agent.cli.api_client import ApiClient
from fairlead_agent.cli.errors import CliError

from .reading import Reading, parse


def read(client: ApiClient, workload: str, clock: Callable[[], float] = time.monotonic) -> Reading:
    """Return the counters of the replica that answers.

    Raises:
        CliError: nothing answers, or the workload is none of this plugin.
    """
    with client.open("GET", f"/workloads/{quote(workload, safe='')}/metrics", timeout_s=10.0) as answer:
        node, text = answer.header("fairlead-node"), answer.body().decode(errors="replace")
    try:
        return parse(text, node, clock())
    except ValueError as error:
        raise CliError(f"{workload}: {error}") from None


def spans(
    take: Callable[[], Reading], every_s: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[Reading, float | None]]:
    """Yield what happened between readings, and for how many seconds; the first covers all since the start.

    The gateway may send each request to another replica: a reading is compared with the last one of its own node.
    """
    last: dict[str, Reading] = {}
    while True:
        reading = take()
        earlier = last.get(reading.node)
        last[reading.node] = reading
        yield reading.since(earlier), None if earlier is None else reading.at_s - earlier.at_s
        sleep(every_s)
