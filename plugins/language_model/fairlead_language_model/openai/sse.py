"""Server-sent events as OpenAI's clients read them."""

from __future__ import annotations

import json

from .errors import ApiError
from .responses import ChatChunk, Completion

SSE_DONE = b"data: [DONE]\n\n"
SSE_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def sse_data(chunk: ChatChunk | Completion) -> bytes:
    """Return one event for a chunk. JSON holds no raw line break, so that the event is one line."""
    value = chunk.model_dump(exclude_none=True)
    # Absent fields stay absent in a delta; a finish reason that is not known yet is null by the API's definition.
    for choice in value["choices"]:
        choice.setdefault("finish_reason", None)
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def sse_error(error: ApiError) -> bytes:
    """Return an error inside a stream that has begun: its status can no longer change."""
    return b"data: " + error.body.model_dump_json().encode() + b"\n\n"
