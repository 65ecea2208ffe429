"""What a request asks for: a form with pictures and numbers, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request

from ..errors import BadSetting
from .fields import MOST_STYLES, file_or_none, files, flag, number, one, read_fields, results, texts, words

FIELDS = ("content", "style", "style_weight", "mask", "strength", "keep_colours", "diverse", "seed", "bound", "towards",
          "text", "text_from", "format", "quality")  # fmt: skip
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
    return await read_fields(request, most_bytes, FIELDS, lambda form: _asked(form, most_diverse))


async def _asked(form: FormData, most_diverse: int) -> Asked:
    (content,) = await files(form, "content", 1, 1)
    styles = await files(form, "style", 1, MOST_STYLES)
    weights = [number("style_weight", text, 0, 1e6) for text in texts(form, "style_weight")] or [1.0] * len(styles)
    if len(weights) != len(styles):
        raise BadSetting(
            f"style_weight: {len(weights)} values; accepted: one for each of {len(styles)} styles, or none"
        )
    return Asked(
        content,
        styles,
        await file_or_none(form, "mask"),
        tuple(weights),
        number("strength", one(form, "strength", "1"), 0, 1),
        flag("keep_colours", one(form, "keep_colours", "false")),
        *await results(form, most_diverse),
        words(form, "text", ""),
        words(form, "text_from", PLAIN),
    )
