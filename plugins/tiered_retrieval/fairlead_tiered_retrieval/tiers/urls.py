"""A region by its URL."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .leases import NAME
from .local import DramRegion, FileRegion, NumaRegion
from .region import Region, RegionUrlError
from .remote import LentRegion, ProcessRegion, SharedRegion


def open_region(url: str, size: int | None = None) -> Region:
    """Open the region that a URL names; where it must be made first, of this many bytes.

    Args:
        url: one of SYNTAX; ``size=BYTES`` in it means the same as the argument.
        size: in bytes.

    Raises:
        RegionUrlError: the URL is not understood, or this machine does not have what it asks for.
        TierError: the region cannot be had.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RegionUrlError(f"{url!r}: is no URL: {error}") from error
    opener = SCHEMES.get(parts.scheme)
    if opener is None:
        raise RegionUrlError(f"{url!r}: accepted: {', '.join(SYNTAX)}")
    options = Options(url, parts.query)
    asked = options.whole("size", None)
    if asked is not None and size is not None and asked != size:
        raise RegionUrlError(f"{url}: size={asked} contradicts the {size} bytes asked for")
    return opener(url, parts, options, size if asked is None else asked)


class Options:
    """The query of a URL, each option read by its type; `end` refuses what nobody asked for."""

    def __init__(self, url: str, query: str) -> None:
        self._url = url
        self._values = dict(parse_qsl(query, keep_blank_values=True))

    def end(self, *accepted: str) -> None:
        """Refuse options that are none of these."""
        for name in self._values:
            if name not in (*accepted, "size"):
                raise RegionUrlError(f"{self._url}: {name!r}: accepted options: {', '.join((*accepted, 'size'))}")

    def whole(self, name: str, default: Any) -> Any:
        """Return a whole number of at least 0."""
        text = self._values.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdecimal():
            raise RegionUrlError(f"{self._url}: {name}={text!r}: a whole number of at least 0 is accepted")
        return int(text)

    def number(self, name: str, default: float) -> float:
        """Return a finite number of at least 0."""
        text = self._values.get(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = math.nan
        if text is not None and not (math.isfinite(value) and value >= 0):
            raise RegionUrlError(f"{self._url}: {name}={text!r}: a number of at least 0 is accepted")
        return value

    def yes(self, name: str, default: bool) -> bool:
        """Return 0 or 1 as a bool."""
        text = self._values.get(name, "1" if default else "0")
        if text not in ("0", "1"):
            raise RegionUrlError(f"{self._url}: {name}={text!r}: 0 and 1 are accepted")
        return text == "1"

    def text(self, name: str, default: str) -> str:
        """Return an option as it is written."""
        return self._values.get(name, default)


def _need(url: str, size: int | None) -> int:
    if size is None or size <= 0:
        raise RegionUrlError(f"{url}: say size=BYTES, above 0")
    return size


def _dram(url: str, parts: SplitResult, options: Options, size: int | None) -> Region:
    options.end()
    return DramRegion(url, _need(url, size))


def _numa(url: str, parts: SplitResult, options: Options, size: int | None) -> Region:
    options.end()
    if not parts.path.isdecimal():
        raise RegionUrlError(f"{url}: accepted: numa:NODE?size=BYTES")
    return NumaRegion(url, int(parts.path), _need(url, size))


def _file(url: str, parts: SplitResult, options: Options, size: int | None) -> Region:
    options.end("direct", "depth", "timeout", "uring")
    path = unquote(parts.path)
    if parts.netloc or not path:
        raise RegionUrlError(f"{url}: accepted: file:PATH or file:///PATH")
    return FileRegion(
        url,
        Path(path),
        size,
        direct=options.yes("direct", False),
        depth=options.whole("depth", 128),
        timeout=options.number("timeout", 2.0),
        uring=options.yes("uring", True),
    )


def _shm(url: str, parts: SplitResult, options: Options, size: int | None) -> Region:
    options.end("delay_us", "ring", "timeout")
    name = unquote(parts.path)
    if parts.netloc or not NAME.fullmatch(name):
        raise RegionUrlError(f"{url}: accepted: shm:NAME of letters, digits, '.', '_' and '-'")
    delay = options.number("delay_us", 0.0 if options.yes("ring", False) else math.inf)
    asked = None if math.isinf(delay) else delay
    return SharedRegion(url, name, size, delay_us=asked, timeout=options.number("timeout", 2.0))


def _place(url: str, parts: SplitResult) -> tuple[str, int, str]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RegionUrlError(f"{url}: {error}") from error
    name = unquote(parts.path).lstrip("/")
    if not host or port is None or not NAME.fullmatch(name) or parts.username is not None:
        raise RegionUrlError(f"{url}: accepted: {parts.scheme}://HOST:PORT/REGION, and the token elsewhere")
    return host, port, name


def _lent(url: str, parts: SplitResult, options: Options, size: int | None) -> Region:
    options.end("timeout", "token_file", "lease_s")
    lease = options.number("lease_s", 0.0)
    return LentRegion(
        url,
        parts.scheme,
        *_place(url, parts),
        size,
        token_file=options.text("token_file", "") or None,
        timeout=options.number("timeout", 2.0),
        lease_s=lease or None,
    )


def _process(url: str, parts: SplitResult, options: Options, size: int | None) -> Region:
    if ":" in parts.netloc:
        return _lent(url, parts, options, size)
    options.end("timeout")
    try:
        process, address = int(parts.netloc), int(parts.path.lstrip("/"), 0)
    except ValueError as error:
        accepted = "process://PID/ADDRESS?size=BYTES or process://HOST:PORT/REGION"
        raise RegionUrlError(f"{url}: accepted: {accepted}") from error
    return ProcessRegion(url, process, address, _need(url, size), options.number("timeout", 2.0))


Opener = Callable[[str, SplitResult, Options, "int | None"], Region]

#: What opens each scheme.
SCHEMES: dict[str, Opener] = {
    "dram": _dram,
    "numa": _numa,
    "file": _file,
    "shm": _shm,
    "memory": _lent,
    "process": _process,
    "ucx": _lent,
}

#: What each looks like.
SYNTAX = (
    "dram:?size=BYTES",
    "numa:NODE?size=BYTES",
    "file:PATH?direct=1",
    "shm:NAME?delay_us=2",
    "memory://HOST:PORT/REGION",
    "ucx://HOST:PORT/REGION",
    "process://HOST:PORT/REGION",
    "process://PID/ADDRESS?size=BYTES",
)
