"""A client of the service, through the gateway or straight."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from .errors import StylizationError
from .pictures import Picture, encode_picture, read_picture

F32 = NDArray[np.float32]
#: Answers after which it is worth to ask again, how often, and the seconds between at most.
_AGAIN, _TRIES, _LONGEST_S = (429, 503), 6, 5.0
#: For a connection, and for an answer, as long as a gateway waits for one: searches take minutes on small devices, and
#: a device that is lost or hangs is told by the gateway.
CONNECT_S, ANSWER_S = 10.0, 3600.0


class RequestRefused(StylizationError):
    """The service, or what stands before it, refused.

    Attributes:
        status: of HTTP; 0: nobody answered.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StyleClient:
    """Puts pictures into styles by a service.

    Args:
        url: of the workload behind the gateway, or of an instance.
        token: that the gateway asks for.
        timeout_s: of an answer.
        sleep: waits between two tries, where whoever serves is busy or about to be somebody else.
    """

    def __init__(
        self, url: str, token: str | None = None, *, timeout_s: float = ANSWER_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=within(timeout_s))

    def __enter__(self) -> StyleClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def status(self) -> dict[str, Any]:
        """What serves: variant and digest of the weights."""
        return self._sent("GET", "/status").json()

    def stylize(
        self,
        content: bytes | F32,
        styles: Sequence[bytes],
        *,
        weights: Sequence[float] = (),
        mask: bytes | None = None,
        **fields: Any,
    ) -> F32:
        """Stylize a picture, given as a file's bytes or float32 [height, width, 3]; ``fields`` as the form has them.

        Raises:
            RequestRefused: the service refused; the message is its own.
        """
        answer = self._asked(content, styles, weights, mask, {**fields, "format": "png"})
        return read_picture(answer.content, name="answer").pixels

    def several(
        self, content: bytes, styles: Sequence[bytes], count: int, *, mask: bytes | None = None,
        towards: bytes | None = None, **fields: Any,
    ) -> tuple[list[F32], dict[str, Any]]:  # fmt: skip
        """Results that are looked for, of one content and style, and the service's report of them."""
        fields |= {"diverse": count, "format": "png"}
        return _unpacked(self._asked(content, styles, (), mask, fields, towards).content)

    def generate(
        self, what: str, content: bytes, *, mask: bytes | None = None, towards: bytes | None = None, **fields: Any
    ) -> tuple[list[F32], dict[str, Any] | None]:
        """Fill a picture's hole, colour it or enlarge it: one result or ``diverse`` ones, and a report of a search.

        Args:
            what: inpainting, colorization or super-resolution.
            content, mask, towards: files' bytes.
            fields: as the form has them.

        Raises:
            RequestRefused: the service refused; the message is its own.
        """
        given = (("content", content), ("mask", mask), ("towards", towards))
        files = [(name, (name, file)) for name, file in given if file is not None]
        data = {name: _text(value) for name, value in {**fields, "what": what, "format": "png"}.items()}
        answer = self._sent("POST", "/generate", files=files, data=data)
        if answer.headers.get("content-type") == "application/zip":
            return _unpacked(answer.content)
        return [read_picture(answer.content, name="answer").pixels], None

    def _asked(
        self, content: bytes | F32, styles: Sequence[bytes], weights: Sequence[float], mask: bytes | None,
        fields: dict[str, Any], towards: bytes | None = None,
    ) -> httpx.Response:  # fmt: skip
        sent = content if isinstance(content, bytes) else encode_picture(Picture(content))
        files: list[tuple[str, tuple[str | None, bytes | str]]] = [("content", ("content", sent))]
        files += [("style", (f"style{place}", style)) for place, style in enumerate(styles)]
        files += [(name, (name, file)) for name, file in (("mask", mask), ("towards", towards)) if file is not None]
        files += [("style_weight", (None, repr(float(weight)))) for weight in weights]
        files += [(name, (None, _text(value))) for name, value in fields.items() if value is not None]
        return self._sent("POST", "/stylize", files=files)

    def _sent(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        for left in reversed(range(_TRIES)):
            try:
                answer = self._http.request(method, path, **kwargs)
            except httpx.ReadTimeout as error:
                told = f"{self._http.base_url}: no answer within {self._http.timeout.read:g} s"
                raise RequestRefused(504, told) from error
            except httpx.HTTPError as error:
                raise RequestRefused(0, f"{self._http.base_url}: {error or type(error).__name__}") from error
            if answer.status_code < 400:
                return answer
            wait = _wait_s(answer)
            if wait is None or not left:
                break
            self._sleep(wait)
        raise RequestRefused(answer.status_code, _problem(answer))


def within(answer_s: float = ANSWER_S) -> httpx.Timeout:
    """How long to wait for a connection, and for an answer."""
    return httpx.Timeout(CONNECT_S, read=answer_s, write=answer_s)


def _unpacked(content: bytes) -> tuple[list[F32], dict[str, Any]]:
    """Pictures of a zip, by their names, and the report in it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        pictures = [read_picture(archive.read(name), name=name).pixels for name in names]
        return pictures, json.loads(archive.read("report.json"))


def _wait_s(answer: httpx.Response) -> float | None:
    """How long to wait before asking again, as the answer says; None: there is no use in it."""
    told = answer.headers.get("retry-after", "")
    if answer.status_code not in _AGAIN or not told.isdigit():
        return None
    return min(float(told), _LONGEST_S)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _problem(answer: httpx.Response) -> str:
    try:
        told = answer.json()
        error = told.get("error", told)
        return str(error["message"] if isinstance(error, dict) and "message" in error else error)
    except (ValueError, AttributeError):
        return f"{answer.status_code} {answer.reason_phrase}"
