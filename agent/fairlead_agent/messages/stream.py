"""HTTP over MQTT: one request, one streamed response, flow control by credit.

The requester grants credit in chunks; the responder never has more chunks under way than it has credit.
Bodies travel base64-encoded.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fairlead_agent.messages.base import Body, Name, Reason


class StreamRequest(Body):
    """An HTTP request for an instance, or (``target`` = 'node') for the node itself."""

    TYPE: ClassVar[str] = "stream-request"

    stream: str = Field(min_length=1, max_length=64)
    reply_to: Name = Field(description="The node (or gateway) whose inbox takes the answer.")
    target: str = Field(default="node", description="A lease key as text, or 'node'.")
    epoch: int = Field(default=0, ge=0)
    method: str = Field(default="GET", max_length=16)
    path: str = Field(default="/", max_length=4096)
    headers: tuple[tuple[str, str], ...] = ()
    body_base64: str = ""
    credit: int = Field(default=16, ge=1, le=1024)


class StreamHead(Body):
    """Status and headers of the answer."""

    TYPE: ClassVar[str] = "stream-head"

    stream: str
    status: int = Field(ge=100, le=599)
    headers: tuple[tuple[str, str], ...] = ()


class StreamChunk(Body):
    """A piece of the answer's body; ``index`` counts from 0, a gap is an error."""

    TYPE: ClassVar[str] = "stream-chunk"

    stream: str
    index: int = Field(ge=0)
    data_base64: str


class StreamEnd(Body):
    """The answer is complete (``error`` empty) or broke off."""

    TYPE: ClassVar[str] = "stream-end"

    stream: str
    chunks: int = Field(ge=0)
    error: Reason = ""


class StreamCredit(Body):
    """The requester has taken chunks and allows ``credit`` more."""

    TYPE: ClassVar[str] = "stream-credit"

    stream: str
    credit: int = Field(ge=1, le=1024)


class StreamAbort(Body):
    """The requester has gone; the responder stops."""

    TYPE: ClassVar[str] = "stream-abort"

    stream: str
    reason: Reason = ""
