"""structlog for agent and workers: JSON for machines, a console for people, and no secrets in either."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO, cast

from fairlead_agent.messages.lease import LeaseKey
from fairlead_agent.runtime.light_structlog import structlog

REDACTED = "[redacted]"
_SECRET = re.compile(r"(^|[_\-.])(password|passphrase|token|cookie|secret|authorization|credential|api_?key|key)s?$")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: values whose name says password, token, cookie, key or authorization are replaced.

    A :class:`LeaseKey` (or its text, under the name ``key``) is no secret and stays.
    """
    return {name: _clean(name, value) for name, value in event.items()}


def configure(style: Literal["json", "console"] = "json", *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set structlog up for this process.

    Raises:
        ValueError: no such level.
    """
    levels = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
    if level.upper() not in levels:
        raise ValueError(f"log level is {level!r}, accepted are {', '.join(levels)}")
    renderer: Any = structlog.processors.JSONRenderer()
    if style == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def worker_logger(key: LeaseKey, epoch: Callable[[], int]) -> Any:
    """The logger of a plugin in its worker: JSON lines, each with workload, replica and the epoch held then."""

    def add_epoch(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["epoch"] = epoch()
        return event

    configure("json")
    processors = [add_epoch, *structlog.get_config()["processors"]]
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=processors).bind(
        workload=key.workload, replica=key.replica
    )


def _clean(name: str, value: Any) -> Any:
    if _SECRET.search(name.lower()) and not _is_lease_key(name, value):
        return REDACTED
    if isinstance(value, Mapping):
        return {str(each): _clean(str(each), inner) for each, inner in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_clean(name, inner) for inner in cast(list[Any], value)]
    return _BEARER.sub(rf"\1 {REDACTED}", value) if isinstance(value, str) else value


def _is_lease_key(name: str, value: Any) -> bool:
    return name == "key" and (
        isinstance(value, LeaseKey) or bool(re.fullmatch(r"[a-z0-9_-]+/[a-z0-9_-]+/\d+", str(value)))
    )
