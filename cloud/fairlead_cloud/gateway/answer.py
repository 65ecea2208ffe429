"""Requests and answers between the gateway and an instance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

EPOCH_HEADER = "fairlead-epoch"
NODE_HEADER = "fairlead-node"

#: Headers that concern one hop only (RFC 9110, section 7.6.1), and those that the gateway sets itself.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
    }
)


class InstanceFailed(RuntimeError):
    """An instance did not answer, answered for another epoch, or broke off; another may be asked."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A client's request, as it goes to an instance."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


async def _nothing() -> None:
    return None


@dataclass(slots=True)
class Answer:
    """An instance's answer; ``chunks`` may raise :class:`InstanceFailed` at any point."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]] = field(default=_nothing)

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def streams(self) -> bool:
        """Server-sent events are passed on as they come; everything else is read whole first."""
        return (self.header("content-type") or "").startswith("text/event-stream")


def passed_on(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Headers without those that concern one hop."""
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
