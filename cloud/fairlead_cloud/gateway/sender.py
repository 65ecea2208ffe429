"""Carries a request to an instance: by HTTP where its address is known, else over MQTT through its node."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import lru_cache

import httpcore

from fairlead_agent.bus.streams import StreamClient, StreamError, StreamResponse
from fairlead_agent.bus.transport import TransportError
from fairlead_agent.messages import MessageError
from fairlead_cloud.gateway.answer import EPOCH_HEADER, Answer, Ask, Headers, InstanceFailed, passed_on
from fairlead_cloud.gateway.target import Target

#: How long a connection may take; an answer may take as long as its client waits and its holder keeps its lease.
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 3600.0

#: Below the worker host's own keep-alive (5 s), so that no request meets a connection that is just being closed.
KEEPALIVE_S = 4.0


class Sender:
    """Sends to instances over pooled connections."""

    def __init__(self, streams: StreamClient) -> None:
        self._streams = streams
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=512, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_S, retries=0
        )

    async def open(self, target: Target, ask: Ask) -> Answer:
        """Send ``ask`` with the target's epoch and return the answer's head; the body follows in ``chunks``.

        Raises:
            InstanceFailed: it could not be reached, or broke off before the head.
        """
        headers = [*passed_on(ask.headers), (EPOCH_HEADER, str(target.epoch))]
        if target.address is not None:
            return await self._open_http(target.address, ask, headers)
        return await self._open_stream(target, ask, headers)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _open_http(self, address: str, ask: Ask, headers: list[tuple[str, str]]) -> Answer:
        origin = _origin(address)
        headers.append(("host", address.split("//", 1)[-1].split("/", 1)[0]))
        if ask.body or ask.method not in ("GET", "HEAD", "OPTIONS"):
            headers.append(("content-length", str(len(ask.body))))
        request = httpcore.Request(
            method=ask.method,
            url=httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=ask.path.encode("ascii")),
            headers=headers,
            content=ask.body,
            extensions={"timeout": {"connect": CONNECT_TIMEOUT_S, "read": READ_TIMEOUT_S, "write": 30.0, "pool": 10.0}},
        )
        try:
            response = await self._pool.handle_async_request(request)
        except _UNREACHED as error:
            raise InstanceFailed(f"{address}: {_said(error)}", untouched=True) from None
        except _BROKEN as error:
            raise InstanceFailed(f"{address}: {_said(error)}") from None
        return Answer(response.status, _decoded(response), _http_chunks(address, response), response.aclose)

    async def _open_stream(self, target: Target, ask: Ask, headers: list[tuple[str, str]]) -> Answer:
        try:
            response = await self._streams.request(
                target.node,
                target=str(target.key),
                epoch=target.epoch,
                method=ask.method,
                path=ask.path,
                headers=headers,
                body=ask.body,
                timeout_s=READ_TIMEOUT_S,
            )
        except (TransportError, MessageError, ValueError) as error:
            raise InstanceFailed(f"{target.node} over MQTT: {_said(error)}", untouched=True) from None
        except (StreamError, TimeoutError) as error:
            raise InstanceFailed(f"{target.node} over MQTT: {_said(error)}") from None
        return Answer(response.status, response.headers, _stream_chunks(target.node, response), response.aclose)


#: Nothing was sent yet.
_UNREACHED = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout, httpcore.UnsupportedProtocol)
_BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


@lru_cache(maxsize=4096)
def _origin(address: str) -> httpcore.Origin:
    return httpcore.URL(address).origin


def _decoded(response: httpcore.Response) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


async def _http_chunks(address: str, response: httpcore.Response) -> AsyncGenerator[bytes]:
    try:
        async for chunk in response.aiter_stream():
            yield chunk
    except _BROKEN as error:
        raise InstanceFailed(f"{address} broke off: {_said(error)}") from None


async def _stream_chunks(node: str, response: StreamResponse) -> AsyncGenerator[bytes]:
    try:
        async for chunk in response:
            yield chunk
    except (StreamError, TimeoutError) as error:
        raise InstanceFailed(f"{node} over MQTT broke off: {_said(error)}") from None
