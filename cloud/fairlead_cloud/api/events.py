"""The event log as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from fairlead_cloud.api.auth import Viewer
from fairlead_cloud.api.views import EventView
from fairlead_cloud.api.workloads import Plane
from fairlead_cloud.store import Event, EventLog

router = APIRouter(prefix="/api/v1", tags=["events"])


@router.get("/events", responses={200: {"content": {"text/event-stream": {}}}})
async def follow_events(
    plane: Plane,
    _: Viewer,
    after: Annotated[int | None, Query(ge=0, description="Start after this number; default: only new events.")] = None,
    last_event_id: Annotated[int | None, Header(ge=0, description="The same, as browsers send it.")] = None,
) -> StreamingResponse:
    """Follow the event log."""
    start = after if last_event_id is None else last_event_id
    seq = start if start is not None else await plane.events.last_seq()
    return StreamingResponse(
        _lines(plane.events, seq),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


@router.get("/events/log")
async def list_events(
    plane: Plane,
    _: Viewer,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    last: Annotated[int | None, Query(ge=1, le=5000, description="Instead: so many of the newest.")] = None,
) -> list[EventView]:
    """A page of the event log, oldest first."""
    found = await plane.events.after(after, limit) if last is None else await plane.events.latest(last)
    return [EventView(**asdict(event)) for event in found]


async def _lines(events: EventLog, seq: int) -> AsyncIterator[str]:
    async for event in events.follow(seq):
        yield ": keep-alive\n\n" if event is None else _line(event)


def _line(event: Event) -> str:
    data = json.dumps({"time": event.time, "subject": event.subject, **event.data})
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n"
