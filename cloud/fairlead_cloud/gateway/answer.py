"""Requests and answers between the gateway and an instance."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

Headers = tuple[tuple[str, str], ...]

EPOCH_HEADER = "fairlead-epoch"
NODE_HEADER = "fairlead-node"
#: The worker host refused before its application was asked.
REFUSED_HEADER = "fairlead-refused"
#: The worker host's lease ran out while its application worked.
CUT_HEADER = "fairlead-cut"

#: Headers that concern one hop only (RFC 9110, section 7.6.1), and those that the gateway sets itself.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
    }
)

#: Methods that may be sent twice without doing more than once (RFC 9110, section 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class InstanceFailed(RuntimeError):
    """An instance did not answer, answered for another epoch, or broke off.

    Args:
        reason: one line.
        untouched: the request certainly had no effect there.
    """

    def __init__(self, reason: str, *, untouched: bool = False) -> None:
        super().__init__(reason)
        self.untouched = untouched


@dataclass(frozen=True, slots=True)
class Ask:
    """A client's request, as it goes to an instance. ``repeatable``: doing it twice does no more than once."""

    method: str
    path: str
    headers: Headers
    body: bytes
    repeatable: bool = True


async def _nothing() -> None:
    return None


@dataclass(slots=True)
class Answer:
    """An instance's answer; ``chunks`` may raise :class:`InstanceFailed` at any point."""

    status: int
    headers: Headers
    chunks: AsyncGenerator[bytes]
    close: Callable[[], Awaitable[None]] = field(default=_nothing)

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def streams(self) -> bool:
        """What comes in pieces of unknown number is passed on as it comes; the rest is read whole first."""
        if (self.header("content-type") or "").startswith("text/event-stream"):
            return True
        return self.header("content-length") is None and self.status not in (204, 304)


def passed_on(headers: Headers) -> list[tuple[str, str]]:
    """Headers without those that concern one hop."""
    named = {name.strip().lower() for key, value in headers if key.lower() == "connection" for name in value.split(",")}
    dropped = HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name.lower() not in dropped]
