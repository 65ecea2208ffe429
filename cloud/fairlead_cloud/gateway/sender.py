"""Carries a request to an instance: by HTTP where its address is known, else over MQTT through its node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpcore

from fairlead_agent.bus.streams import StreamClient, StreamError
from fairlead_cloud.gateway.answer import Answer, Ask, InstanceFailed, passed_on
from fairlead_cloud.gateway.target import Target

#: How long a connection may take; an answer may take as long as its client waits.
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 300.0


class Sender:
    """Sends to instances over pooled connections."""

    def __init__(self, streams: StreamClient) -> None:
        self._streams = streams
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=512, max_keepalive_connections=64, keepalive_expiry=30.0, retries=0
        )

    async def open(self, target: Target, ask: Ask) -> Answer:
        """Send ``ask`` with the target's epoch and return the answer's head; the body follows in ``chunks``.

        Raises:
            InstanceFailed: it could not be reached, or broke off before the head.
        """
        headers = [*passed_on(ask.headers), ("fairlead-epoch", str(target.epoch))]
        if target.address is not None:
            return await self._open_http(target.address, ask, headers)
        return await self._open_stream(target, ask, headers)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _open_http(self, address: str, ask: Ask, headers: list[tuple[str, str]]) -> Answer:
        request = httpcore.Request(
            method=ask.method,
            url=address.rstrip("/") + ask.path,
            headers=[*headers, ("host", address.split("//", 1)[-1]), ("content-length", str(len(ask.body)))],
            content=ask.body,
            extensions={"timeout": {"connect": CONNECT_TIMEOUT_S, "read": READ_TIMEOUT_S, "write": 30.0, "pool": 10.0}},
        )
        try:
            response = await self._pool.handle_async_request(request)
        except _HTTP_ERRORS as error:
            raise InstanceFailed(f"{address}: {_said(error)}") from None
        answer_headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
        return Answer(response.status, answer_headers, _http_chunks(address, response), response.aclose)

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
        except (StreamError, TimeoutError) as error:
            raise InstanceFailed(f"{target.node} over MQTT: {_said(error)}") from None
        return Answer(response.status, tuple(response.headers), _stream_chunks(target.node, response), response.aclose)


_HTTP_ERRORS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


async def _http_chunks(address: str, response: httpcore.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_stream():
            yield chunk
    except _HTTP_ERRORS as error:
        raise InstanceFailed(f"{address} broke off: {_said(error)}") from None
    finally:
        await response.aclose()


async def _stream_chunks(node: str, response: Any) -> AsyncIterator[bytes]:
    try:
        async for chunk in response:
            yield chunk
    except (StreamError, TimeoutError) as error:
        raise InstanceFailed(f"{node} over MQTT broke off: {_said(error)}") from None
    finally:
        await response.aclose()
