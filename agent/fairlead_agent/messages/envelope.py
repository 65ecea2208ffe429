"""The envelope around every message: CloudEvents names, JSON on the wire."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError

from fairlead_agent.messages.base import Body

#: Larger payloads are refused before they are parsed.
MAX_MESSAGE_BYTES = 1 << 20

TYPE_PREFIX = "fairlead.1."


class MessageError(ValueError):
    """A payload that is no message of this version; the text says why, on one line."""


class Header(BaseModel):
    """CloudEvents attributes and ours. ``time`` and ``expires`` are Unix seconds (UTC)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: str = "1.0"
    id: str = Field(min_length=1, max_length=128, description="Unique per source; the key for de-duplication.")
    source: str = Field(min_length=1, max_length=128, description="The node that says it.")
    type: str = Field(max_length=128)
    time: float = Field(description="When it was said, Unix seconds.")
    expires: float | None = Field(default=None, description="After this Unix time the message means nothing.")
    epoch: int | None = Field(default=None, ge=0)
    seq: int | None = Field(default=None, ge=0)
    traceparent: str | None = Field(default=None, max_length=64)


class Envelope(Header):
    """A header and its body."""

    data: SerializeAsAny[Body]


@cache
def bodies() -> dict[str, type[Body]]:
    """Every body by its name on the wire."""
    found: dict[str, type[Body]] = {}
    pending: list[type[Body]] = list(Body.__subclasses__())
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if cls.TYPE:
            found[TYPE_PREFIX + cls.TYPE] = cls
    return found


def encode(
    body: Body,
    *,
    id: str,
    source: str,
    time: float,
    expires: float | None = None,
    epoch: int | None = None,
    seq: int | None = None,
    traceparent: str | None = None,
) -> bytes:
    """Return the JSON payload of ``body``.

    Raises:
        MessageError: the payload would be larger than :data:`MAX_MESSAGE_BYTES`.
    """
    envelope = Envelope(
        id=id,
        source=source,
        type=TYPE_PREFIX + body.TYPE,
        time=time,
        expires=expires,
        epoch=epoch,
        seq=seq,
        traceparent=traceparent,
        data=body,
    )
    payload = envelope.model_dump_json(exclude_none=True).encode()
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{envelope.type}: {len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are sent")
    return payload


def decode(payload: bytes | bytearray | memoryview) -> Envelope:
    """Parse a payload.

    Raises:
        MessageError: too large, not JSON, an unknown type or version, or a field that does not fit.
    """
    raw = bytes(payload)
    if len(raw) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message of {len(raw)} bytes, at most {MAX_MESSAGE_BYTES} are accepted")
    try:
        header = Header.model_validate_json(raw)
        body_type = bodies().get(header.type)
        if body_type is None:
            raise MessageError(f"unknown message type {header.type!r}; this agent speaks {TYPE_PREFIX}*")
        wrapped = _wrapper(body_type).model_validate_json(raw)
    except ValidationError as error:
        raise MessageError(describe(error)) from None
    except RecursionError:
        raise MessageError("message is nested too deeply") from None
    return wrapped


@cache
def _wrapper(body_type: type[Body]) -> type[Envelope]:
    namespace: dict[str, Any] = {"__annotations__": {"data": body_type}, "__module__": __name__}
    return type(f"Envelope[{body_type.__name__}]", (Envelope,), namespace)


def describe(error: ValidationError) -> str:
    """One line for a validation error: field, what is wrong, the value (cut short)."""
    parts: list[str] = []
    for item in error.errors(include_url=False)[:3]:
        where = ".".join(str(level) for level in item["loc"]) or "message"
        parts.append(f"{where}: {item['msg']} (got {str(item.get('input'))[:80]!r})")
    return "; ".join(parts)
