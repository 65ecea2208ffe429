"""HTTP that comes to this node over MQTT: for an instance, or for the node itself."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

from fairlead_agent.bus.stream_server import Answer
from fairlead_agent.messages import LeaseKey, StreamRequest
from fairlead_agent.runtime.instance import InstanceError
from fairlead_agent.runtime.relay import forward
from fairlead_agent.runtime.supervisor import Supervisor

_LOG_PATH = re.compile(r"/instances/([a-z0-9_-]+)/([0-9]+)/log")


class NodeHttp:
    """Answers stream requests. The worker host checks the epoch itself, as it does for direct requests."""

    def __init__(self, site: str, supervisor: Supervisor) -> None:
        self._site, self._supervisor = site, supervisor

    async def answer(self, request: StreamRequest) -> Answer:
        """Answer one request."""
        if request.target == "node":
            return self._own(request)
        instance = self._holder(request)
        if instance is None:
            return _refusal(409, f"{request.target} at epoch {request.epoch} is not held by this node")
        try:
            body = base64.b64decode(request.body_base64, validate=True)
        except binascii.Error:
            return _refusal(400, "the body is not base64")
        headers = [(name, value) for name, value in request.headers if name.lower() != "fairlead-epoch"]
        headers.append(("fairlead-epoch", str(request.epoch)))
        response = await forward(instance, request.method, request.path, headers, body)
        return response.status, response.headers, aiter(response.body)

    def _holder(self, request: StreamRequest) -> str | None:
        parts = request.target.split("/")
        if len(parts) != 3 or not parts[2].isdigit():
            return None
        key = LeaseKey(site=parts[0], workload=parts[1], replica=int(parts[2]))
        holder = self._supervisor.holder(key, request.epoch)
        return str(holder.spec.data_socket) if holder is not None else None

    def _own(self, request: StreamRequest) -> Answer:
        address = urlsplit(request.path)
        found = _LOG_PATH.fullmatch(address.path)
        if found is None or request.method != "GET":
            return _refusal(404, f"this node answers GET /instances/WORKLOAD/REPLICA/log, not {address.path[:80]}")
        lines = parse_qs(address.query).get("lines", ["50"])[0]
        if not lines.isdigit() or not 1 <= int(lines) <= 2000:
            return _refusal(422, f"lines: {lines[:20]!r}; a number from 1 to 2000 is accepted")
        key = LeaseKey(site=self._site, workload=found[1], replica=int(found[2]))
        try:
            text = "\n".join(self._supervisor.tail(key, int(lines)))
        except InstanceError as error:
            return _refusal(404, str(error))
        return 200, (("content-type", "text/plain; charset=utf-8"),), _once(text.encode())


def _refusal(status: int, reason: str) -> Answer:
    body = json.dumps({"detail": reason}).encode()
    return status, (("content-type", "application/json"),), _once(body)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
