"""The ASGI application: API, gateway and dashboard."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

import fairlead_cloud
from fairlead_cloud.api import events, metrics, site, tokens, workloads
from fairlead_cloud.api.errors import add_error_handlers
from fairlead_cloud.api.openapi import add_openapi
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
        # Their pages would load scripts from elsewhere; /openapi.json is all that is needed.
        docs_url=None,
        redoc_url=None,
    )
    app.state.plane = plane
    # Plain ASGI: FastAPI's machinery would cost more than the forwarding.
    completions, workload = openai.OpenAIEndpoint(plane), proxy.ProxyEndpoint(plane)
    app.router.routes.extend(Route(path, completions, methods=["POST"]) for path in openai.PATHS)
    app.router.routes.append(Route(proxy.PATH, workload, methods=list(proxy.METHODS)))
    for room in (workloads, site, events, tokens, metrics, openai):
        app.include_router(room.router)
    mount_dashboard(app)
    add_error_handlers(app)
    add_openapi(app)
    return app


def _lifespan(plane: ControlPlane) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await plane.start()
        try:
            yield
        finally:
            await plane.stop()

    return lifespan
