"""Any HTTP of a workload, under ``/workloads/NAME/...``."""

from __future__ import annotations

from fastapi import HTTPException
from starlette.types import Receive, Scope

from fairlead_cloud.gateway.answer import Ask
from fairlead_cloud.gateway.endpoint import GatewayEndpoint
from fairlead_cloud.gateway.request import ask_of, read_body

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
PATH = "/workloads/{name}/{path:path}"


class ProxyEndpoint(GatewayEndpoint):
    """Passes a request on to a holder of the workload that its path names."""

    async def target(self, scope: Scope, receive: Receive) -> tuple[str, Ask]:
        """The workload and the request for it, its path as the client escaped it."""
        name = scope["path_params"]["name"]
        if not self._plane.knows_workload(name):
            raise HTTPException(404, f"no workload {name!r}")
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw.decode("latin-1").partition("?")[0].split("/", 3)[3]
        return name, ask_of(scope, f"/{path}", await read_body(scope, receive))
