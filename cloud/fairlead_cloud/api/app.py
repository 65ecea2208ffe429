"""The FastAPI application: API, gateway and dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

import fairlead_cloud
from fairlead_cloud.api import events, site, tokens, workloads
from fairlead_cloud.dashboard.routes import mount_dashboard
from fairlead_cloud.gateway import openai, proxy
from fairlead_cloud.plane import ControlPlane


def create_app(plane: ControlPlane) -> FastAPI:
    """Build the application around a control plane, which it starts and stops."""
    app = FastAPI(
        title="Fairlead control plane",
        version=fairlead_cloud.__version__,
        description="Desired state, the shared resource graph, placements with reasons, and the gateway to workloads.",
        lifespan=_lifespan(plane),
    )
    app.state.plane = plane
    for room in (workloads, site, events, tokens, proxy, openai):
        app.include_router(room.router)
    mount_dashboard(app)
    app.add_exception_handler(RequestValidationError, _explain_validation)
    return app


def _lifespan(plane: ControlPlane) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await plane.start()
        try:
            yield
        finally:
            await plane.stop()

    return lifespan


async def _explain_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    lines = [
        f"{'.'.join(str(level) for level in item['loc'] if level != 'body') or 'body'}: {item['msg']}"
        f" (got {str(item.get('input'))[:80]!r})"
        for item in error.errors()
    ]
    if request.url.path.startswith("/v1/"):
        return openai.error_response(422, "; ".join(lines))
    return JSONResponse({"detail": "; ".join(lines)}, status_code=422)
