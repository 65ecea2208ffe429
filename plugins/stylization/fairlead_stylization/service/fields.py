"""Fields of a form: files, texts, numbers and flags, each refused by its name, its value and what is accepted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import isfinite
from typing import TypeVar

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.types import Message

from ..diversity.request import BOUND
from ..errors import BadSetting
from ..pictures.writing import ENDINGS
from .errors import Refused

Read = TypeVar("Read")
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
MOST_STYLES = 16
MOST_WORDS = 512


async def read_fields(
    request: Request, most_bytes: int, accepted: Sequence[str], read: Callable[[FormData], Awaitable[Read]]
) -> Read:
    """Read a request's form, and what a reader makes of it.

    Args:
        request: its body is read.
        most_bytes: of the body.
        accepted: names of fields.
        read: of the form.

    Raises:
        Refused: it is no form (415), or too large (413).
        BadSetting: a field is unknown, or the reader refuses it.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(415, "no_form", f"content-type: accepted: multipart/form-data with {', '.join(accepted)}")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most_bytes:
        raise Refused(413, "too_large", f"{stated} bytes; accepted: at most {most_bytes}")
    bounded = Request(request.scope, _bounded(request, most_bytes))
    try:
        async with bounded.form(max_files=MOST_STYLES + 3, max_fields=64) as form:
            unknown = sorted({name for name in form if name not in accepted})
            if unknown:
                raise BadSetting(f"{unknown[0]}: unknown field; accepted: {', '.join(accepted)}")
            return await read(form)
    except (BadSetting, Refused):
        raise
    except Exception as error:  # a parser's complaint; what is damaged is the client's
        raise Refused(400, "bad_form", f"the form cannot be read ({getattr(error, 'detail', error)})") from error


def _bounded(request: Request, most_bytes: int):
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > most_bytes:
            raise Refused(413, "too_large", f"more than {most_bytes} bytes; accepted: at most that")
        return message

    return receive


async def files(form: FormData, name: str, least: int, most: int) -> tuple[bytes, ...]:
    """The files of a field, at least and at most so many."""
    found = [await _file(item, name) for item in form.getlist(name)]
    if not least <= len(found) <= most:
        counts = {(1, 1): "one picture", (0, 1): "at most one"}.get((least, most), f"from {least} to {most} pictures")
        raise BadSetting(f"{name}: {len(found)} files; accepted: {counts}")
    return tuple(found)


async def file_or_none(form: FormData, name: str) -> bytes | None:
    """The file of a field that may be missing."""
    found = await files(form, name, 0, 1)
    return found[0] if found else None


async def results(form: FormData, most_diverse: int) -> tuple[int, int, float, str, int, bytes | None]:
    """How many results, the seed and the bound of their search, their format and quality, what they are led to."""
    named = one(form, "format", "png").upper().replace("JPG", "JPEG")
    if named not in FORMATS:
        raise BadSetting(f"format {named.lower()!r}; accepted: {', '.join(FORMATS).lower()}")
    return (
        int(number("diverse", one(form, "diverse", "1"), 1, most_diverse, whole=True)),
        int(number("seed", one(form, "seed", "0"), 0, 2**53, whole=True)),
        number("bound", one(form, "bound", str(BOUND)), 1e-4, 1),
        named,
        int(number("quality", one(form, "quality", "92"), 1, 100, whole=True)),
        await file_or_none(form, "towards"),
    )


async def _file(item: UploadFile | str, name: str) -> bytes:
    if isinstance(item, str):
        raise BadSetting(f"{name}: text; accepted: the file of a picture ({', '.join(sorted(set(ENDINGS.values())))})")
    return await item.read()


def texts(form: FormData, name: str) -> Sequence[str]:
    """The texts of a field."""
    found = form.getlist(name)
    if any(not isinstance(item, str) for item in found):
        raise BadSetting(f"{name}: a file; accepted: text")
    return [str(item) for item in found]


def one(form: FormData, name: str, default: str) -> str:
    """The one text of a field."""
    found = texts(form, name)
    if len(found) > 1:
        raise BadSetting(f"{name}: {len(found)} values; accepted: one")
    return found[0].strip() if found else default


def words(form: FormData, name: str, default: str) -> str:
    """A text that is not too long."""
    text = one(form, name, default)
    if len(text) > MOST_WORDS:
        raise BadSetting(f"{name}: {len(text)} characters; accepted: at most {MOST_WORDS}")
    return text


def number(name: str, text: str, least: float, most: float, *, whole: bool = False) -> float:
    """A number within bounds, with its name for messages."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or not least <= value <= most or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise BadSetting(f"{name} {text!r}; accepted: {kind} from {least:g} to {most:g}")
    return value


def flag(name: str, text: str) -> bool:
    """True or false, in any of the usual words."""
    known = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}
    if text.lower() not in known:
        raise BadSetting(f"{name} {text!r}; accepted: true, false")
    return known[text.lower()]
