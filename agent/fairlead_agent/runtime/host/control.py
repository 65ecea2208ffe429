"""The control socket of a worker, in a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import hmac
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

from pydantic import ValidationError

from fairlead_agent.runtime.protocol import MAX_LINE_BYTES, OPERATIONS, ControlError, Hello, Operation
from fairlead_agent.runtime.spec import HostSpec

Handler = Callable[[Any], Awaitable[dict[str, Any]]]
_EVENTS_KEPT = 256
_EVENTS_MAX_BYTES = 2**20


class ControlServer:
    """Answers requests that carry the cookie; pushes events to connections that have said hello.

    Events that no agent hears are kept (the newest 256) for the agent that says hello next.
    """

    def __init__(self, spec: HostSpec, handlers: dict[str, Handler]) -> None:
        self._spec = spec
        self._handlers = handlers
        self._listeners: set[asyncio.StreamWriter] = set()
        self._unheard: deque[bytes] = deque(maxlen=_EVENTS_KEPT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = threading.Event()
        self._fault: BaseException | None = None
        self.loop = asyncio.new_event_loop()

    @property
    def has_agent(self) -> bool:
        """Whether an agent listens now."""
        return bool(self._listeners)

    def start(self, background: Callable[[], Awaitable[None]]) -> None:
        """Listen, in a new daemon thread, and run ``background`` on its loop.

        Raises:
            OSError: the socket cannot be made.
        """
        threading.Thread(target=self._run, args=(background,), name="fairlead-control", daemon=True).start()
        self._up.wait()
        if self._fault is not None:
            raise self._fault

    def emit(self, event: str, **values: Any) -> None:
        """Send an event; from any thread."""
        line = json.dumps({"event": event, **values}).encode() + b"\n"
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._push, line)

    def _run(self, background: Callable[[], Awaitable[None]]) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._listen())
        except OSError as error:
            self._fault = error
            return
        finally:
            self._up.set()
        self.loop.run_until_complete(background())

    async def _listen(self) -> None:
        self._spec.control_socket.unlink(missing_ok=True)
        await asyncio.start_unix_server(self._attend, str(self._spec.control_socket), limit=MAX_LINE_BYTES)

    def _push(self, line: bytes) -> None:
        if not self._listeners:
            self._unheard.append(line)
        for writer in self._listeners:
            # An agent that does not read (paused, say) must not fill this worker's memory.
            if writer.transport.get_write_buffer_size() < _EVENTS_MAX_BYTES:
                writer.write(line)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                # Each request is a task: a drain that takes long must not hold up the next probe.
                task = asyncio.create_task(self._answer(line, writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (ValueError, ConnectionError):  # a line longer than the limit, or the agent is gone
            pass
        finally:
            self._listeners.discard(writer)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        identity: Any = None
        try:
            identity, operation = self._understand(line)
            answer = {"id": identity, "ok": True, "result": await self._handlers[operation.OP](operation)}
        except Exception as error:
            identity = identity if identity is not None else _identity(line)
            answer = {"id": identity, "ok": False, "error": str(error) or repr(error), "kind": type(error).__name__}
            operation = None
        writer.write(json.dumps(answer).encode() + b"\n")
        if isinstance(operation, Hello):
            self._welcome(writer)

    def _welcome(self, writer: asyncio.StreamWriter) -> None:
        writer.writelines(self._unheard)
        self._unheard.clear()
        self._listeners.add(writer)

    def _understand(self, line: bytes) -> tuple[Any, Operation]:
        fields = _fields(line)
        if not hmac.compare_digest(str(fields.get("cookie", "")).encode(), self._spec.cookie.encode()):
            raise PermissionError("wrong cookie")
        known = OPERATIONS.get(str(fields.get("op")))
        if known is None:
            raise ControlError(f"op is {fields.get('op')!r}, accepted are {', '.join(sorted(OPERATIONS))}")
        try:
            return fields.get("id"), known.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ControlError(f"{known.OP}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _fields(line: bytes) -> dict[str, Any]:
    try:
        fields: Any = json.loads(line)
    except ValueError as error:
        raise ControlError(f"request is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ControlError("request is no JSON object")
    return cast(dict[str, Any], fields)


def _identity(line: bytes) -> Any:
    """The id of a request that was refused, so that its sender can tell which one it was."""
    try:
        return _fields(line).get("id")
    except ControlError:
        return None
