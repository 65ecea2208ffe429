"""The agent's end of a worker's control socket."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead_agent.runtime.protocol import (
    MAX_LINE_BYTES,
    ControlError,
    ControlLostError,
    Hello,
    HostStatus,
    Operation,
    Status,
    request_fields,
)

EventHandler = Callable[[dict[str, Any]], None]


class ControlClient:
    """One connection; requests may overlap, events go to ``on_event``."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cookie: str, on_event: EventHandler
    ) -> None:
        self._writer = writer
        self._cookie = cookie
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def connect(cls, path: Path, cookie: str, on_event: EventHandler) -> ControlClient:
        """Connect.

        Raises:
            OSError: nobody listens there.
        """
        reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE_BYTES)
        return cls(reader, writer, cookie, on_event)

    async def request(self, operation: Operation, *, timeout_s: float) -> dict[str, Any]:
        """Ask and wait for the result.

        Raises:
            ControlError: the host refused, with its reason.
            ControlLostError: the connection broke.
            TimeoutError: no answer in time.
        """
        identity = next(self._ids)
        waiting = self._waiting[identity] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": identity, "cookie": self._cookie, **request_fields(operation)}).encode() + b"\n"
        try:
            if self._reading.done():
                raise ControlLostError("the control connection is closed")
            self._writer.write(line)
            async with asyncio.timeout(timeout_s):
                return await waiting
        finally:
            self._waiting.pop(identity, None)

    async def hello(self, *, timeout_s: float) -> HostStatus:
        """The adoption handshake; events follow from now on."""
        return HostStatus.model_validate(await self.request(Hello(), timeout_s=timeout_s))

    async def status(self, *, timeout_s: float) -> HostStatus:
        """The liveness probe."""
        return HostStatus.model_validate(await self.request(Status(), timeout_s=timeout_s))

    def close(self) -> None:
        """Hang up; requests that wait fail."""
        self._reading.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(line)
        except (OSError, ValueError):  # broken, or a line that no host of ours sends
            pass
        finally:
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ControlLostError("the worker closed its control connection"))

    def _take(self, line: bytes) -> None:
        fields: dict[str, Any] = json.loads(line)
        if "event" in fields:
            self._on_event(fields)
            return
        waiting = self._waiting.get(fields.get("id", 0))
        if waiting is None or waiting.done():
            return
        if fields.get("ok"):
            waiting.set_result(fields.get("result", {}))
        else:
            waiting.set_exception(ControlError(str(fields.get("error")), str(fields.get("kind", ""))))
