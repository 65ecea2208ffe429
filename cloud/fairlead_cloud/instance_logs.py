"""What instances wrote, asked of their nodes over the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fairlead_agent.bus.streams import StreamClient, StreamError
from fairlead_agent.bus.transport import TransportError
from fairlead_agent.messages import LeaseKey
from fairlead_cloud.api.views import LogView

#: A node that answers later than this is reported as silent.
ANSWER_S = 5.0


async def read_logs(streams: StreamClient, where: Iterable[tuple[str, LeaseKey]], lines: int) -> list[LogView]:
    """The last ``lines`` lines of each instance, all nodes asked at once; a silent node is an entry with an error."""
    return list(await asyncio.gather(*(_read(streams, node, key, lines) for node, key in where)))


async def _read(streams: StreamClient, node: str, key: LeaseKey, lines: int) -> LogView:
    path = f"/instances/{key.workload}/{key.replica}/log?lines={lines}"
    try:
        async with asyncio.timeout(ANSWER_S):
            response = await streams.request(
                node, target="node", epoch=0, method="GET", path=path, headers=(), body=b"", timeout_s=ANSWER_S
            )
            text = (await response.read()).decode(errors="replace")
    except (StreamError, TransportError, TimeoutError) as error:
        said = str(error) or f"nothing within {ANSWER_S:g} s"
        return LogView(node=node, replica=key.replica, error=f"{node} did not answer: {said}")
    if response.status != 200:
        return LogView(node=node, replica=key.replica, error=f"{node} answered {response.status}: {text[:300]}")
    return LogView(node=node, replica=key.replica, text=text)
