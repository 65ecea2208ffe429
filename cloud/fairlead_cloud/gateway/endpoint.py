"""What all routes of the gateway share, in plain ASGI: this is the hot path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog
from fastapi import HTTPException
from starlette.types import Message, Receive, Scope, Send

from fairlead_cloud.api.auth import authorize
from fairlead_cloud.gateway.answer import Ask, InstanceFailed
from fairlead_cloud.gateway.errors import error_response
from fairlead_cloud.gateway.forward import LostMidway, NobodyServes
from fairlead_cloud.gateway.reply import send_answer
from fairlead_cloud.gateway.request import ClientGone, header
from fairlead_cloud.plane import ControlPlane
from fairlead_cloud.store import DatabaseError, Role

log = structlog.get_logger()


class GatewayEndpoint:
    """Checks the token, finds workload and request, forwards, and answers; errors in the route's form."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def target(self, scope: Scope, receive: Receive) -> tuple[str, Ask]:
        """The workload that is meant, and the request for it. HTTPException where they cannot be told."""
        raise TypeError(f"{type(self).__name__} does not say whom it asks")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        watched = _Watched(send)
        began = time.perf_counter()
        workload, status = "", 499
        try:
            await authorize(self._plane.tokens, header(scope, b"authorization"), Role.CLIENT)
            workload, ask = await self.target(scope, receive)
            await _unless_gone(receive, watched, self._forward(workload, ask, watched))
            status = watched.status
        except ClientGone:
            pass
        except InstanceFailed as error:
            # The answer stays incomplete: the server breaks the connection, so that the client knows.
            log.warning("gateway.broke_off", workload=workload, reason=str(error))
        except (HTTPException, NobodyServes, LostMidway, DatabaseError) as error:
            answer = _said(scope["path"], error)
            status = answer.status_code
            await answer(scope, receive, send)
        finally:
            self._plane.meter.answered(workload, status, time.perf_counter() - began)

    async def _forward(self, workload: str, ask: Ask, send: Send) -> None:
        forwarded = await self._plane.forwarder.forward(workload, ask)
        try:
            await send_answer(forwarded, ask.method, send)
        finally:
            await forwarded.exchange.close()


class _Watched:
    """Remembers what was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 499
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            # Before it is sent: the server calls a client gone as soon as it has the last piece.
            self.complete = not message.get("more_body", False)
        await self._send(message)


async def _unless_gone(receive: Receive, watched: _Watched, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` unless the client leaves before it is done: then the instance is told to stop.

    Raises:
        ClientGone: it left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and not watched.complete:
            raise ClientGone
        await working
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _said(path: str, error: Exception) -> Any:
    match error:
        case HTTPException():
            code, param = getattr(error, "code", None), getattr(error, "param", None)
            return error_response(path, error.status_code, error.detail, code=code, param=param, headers=error.headers)
        case LostMidway():
            return error_response(path, 502, f"{error}; it may have had its effect", code="replica_lost")
        case DatabaseError():
            return error_response(path, 503, str(error), code="database")
        case _:
            return error_response(path, 503, str(error), code="nobody_serves")
