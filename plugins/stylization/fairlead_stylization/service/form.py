"""What a request asks for: a form with pictures and numbers, checked field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.types import Message

from ..diversity.request import BOUND
from ..errors import BadSetting
from ..pictures.writing import ENDINGS
from .errors import Refused

FIELDS = ("content", "style", "style_weight", "mask", "strength", "keep_colours", "diverse", "seed", "bound", "towards",
          "text", "text_from", "format", "quality")  # fmt: skip
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
MOST_STYLES = 16
MOST_WORDS = 512
PLAIN = "a photo"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        content, styles, mask: encoded pictures.
        weights: of styles.
        strength: from 0 to 1.
        keep_colours: only the luminance is the style's.
        diverse: different results; 1: the plain one.
        seed, bound: of the search for them.
        format, quality: of what is answered.
        towards: an encoded picture that results shall come nearer to.
        text, text_from: what results shall come nearer to in words, and what they are to begin with.
    """

    content: bytes
    styles: tuple[bytes, ...]
    mask: bytes | None
    weights: tuple[float, ...]
    strength: float
    keep_colours: bool
    diverse: int
    seed: int
    bound: float
    format: str
    quality: int
    towards: bytes | None = None
    text: str = ""
    text_from: str = PLAIN

    @property
    def searched(self) -> bool:
        """Whether results are looked for, and not the plain one."""
        return self.diverse > 1 or self.towards is not None or bool(self.text)


async def read_form(request: Request, most_bytes: int, most_diverse: int) -> Asked:
    """Read a request's form.

    Raises:
        Refused: it is no form (415), or too large (413).
        BadSetting: a field is missing, unknown, or has a value that is not accepted.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(415, "no_form", "content-type: accepted: multipart/form-data with the files content and style")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most_bytes:
        raise Refused(413, "too_large", f"{stated} bytes; accepted: at most {most_bytes}")
    bounded = Request(request.scope, _bounded(request, most_bytes))
    try:
        async with bounded.form(max_files=MOST_STYLES + 3, max_fields=64) as form:
            return await _asked(form, most_diverse)
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


async def _asked(form: FormData, most_diverse: int) -> Asked:
    unknown = sorted({name for name in form if name not in FIELDS})
    if unknown:
        raise BadSetting(f"{unknown[0]}: unknown field; accepted: {', '.join(FIELDS)}")
    styles = [await _file(item, "style") for item in form.getlist("style")]
    content = [await _file(item, "content") for item in form.getlist("content")]
    masks = [await _file(item, "mask") for item in form.getlist("mask")]
    if len(content) != 1:
        raise BadSetting(f"content: {len(content)} files; accepted: one picture")
    if not 1 <= len(styles) <= MOST_STYLES:
        raise BadSetting(f"style: {len(styles)} files; accepted: from 1 to {MOST_STYLES} pictures")
    towards = [await _file(item, "towards") for item in form.getlist("towards")]
    for name, files in (("mask", masks), ("towards", towards)):
        if len(files) > 1:
            raise BadSetting(f"{name}: {len(files)} files; accepted: at most one")
    weights = [_number("style_weight", text, 0, 1e6) for text in _texts(form, "style_weight")] or [1.0] * len(styles)
    if len(weights) != len(styles):
        raise BadSetting(
            f"style_weight: {len(weights)} values; accepted: one for each of {len(styles)} styles, or none"
        )
    format = _one(form, "format", "png").upper().replace("JPG", "JPEG")
    if format not in FORMATS:
        raise BadSetting(f"format {format.lower()!r}; accepted: {', '.join(FORMATS).lower()}")
    return Asked(
        content[0],
        tuple(styles),
        masks[0] if masks else None,
        tuple(weights),
        _number("strength", _one(form, "strength", "1"), 0, 1),
        _flag("keep_colours", _one(form, "keep_colours", "false")),
        int(_number("diverse", _one(form, "diverse", "1"), 1, most_diverse, whole=True)),
        int(_number("seed", _one(form, "seed", "0"), 0, 2**53, whole=True)),
        _number("bound", _one(form, "bound", str(BOUND)), 1e-4, 1),
        format,
        int(_number("quality", _one(form, "quality", "92"), 1, 100, whole=True)),
        towards[0] if towards else None,
        _words(form, "text", ""),
        _words(form, "text_from", PLAIN),
    )


async def _file(item: UploadFile | str, name: str) -> bytes:
    if isinstance(item, str):
        raise BadSetting(f"{name}: text; accepted: the file of a picture ({', '.join(sorted(set(ENDINGS.values())))})")
    return await item.read()


def _texts(form: FormData, name: str) -> Sequence[str]:
    found = form.getlist(name)
    if any(not isinstance(item, str) for item in found):
        raise BadSetting(f"{name}: a file; accepted: text")
    return [str(item) for item in found]


def _one(form: FormData, name: str, default: str) -> str:
    found = _texts(form, name)
    if len(found) > 1:
        raise BadSetting(f"{name}: {len(found)} values; accepted: one")
    return found[0].strip() if found else default


def _words(form: FormData, name: str, default: str) -> str:
    text = _one(form, name, default)
    if len(text) > MOST_WORDS:
        raise BadSetting(f"{name}: {len(text)} characters; accepted: at most {MOST_WORDS}")
    return text


def _number(name: str, text: str, least: float, most: float, *, whole: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or not least <= value <= most or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise BadSetting(f"{name} {text!r}; accepted: {kind} from {least:g} to {most:g}")
    return value


def _flag(name: str, text: str) -> bool:
    known = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}
    if text.lower() not in known:
        raise BadSetting(f"{name} {text!r}; accepted: true, false")
    return known[text.lower()]
