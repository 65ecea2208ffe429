"""What a request for completed or enlarged pictures asks for, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request

from ..diversity.request import TEXTURED, require_finish
from ..errors import BadSetting
from .fields import file_or_none, files, flag, one, read_fields, results

FIELDS = ("what", "content", "mask", "hints", "finish", "diverse", "seed", "bound", "towards", "format", "quality")
INPAINTING, COLORIZATION, SUPER_RESOLUTION = "inpainting", "colorization", "super-resolution"
KINDS = (INPAINTING, COLORIZATION, SUPER_RESOLUTION)


@dataclass(frozen=True, slots=True)
class Generation:
    """A request.

    Attributes:
        what: one of `KINDS`.
        content: an encoded picture.
        mask: an encoded picture, white where nothing is known; of inpainting, and only of it.
        hints: colours of the picture say what it shall have; of colorization.
        diverse, seed, bound: different results, and the search for them; the seed is a textured hole's too.
        format, quality: of what is answered.
        towards: an encoded picture that results shall come nearer to.
        finish: of inpainting: textured, with pieces of the picture, or smooth.
    """

    what: str
    content: bytes
    mask: bytes | None
    hints: bool
    diverse: int
    seed: int
    bound: float
    format: str
    quality: int
    towards: bytes | None = None
    finish: str = TEXTURED

    def __post_init__(self) -> None:
        if self.what not in KINDS:
            raise BadSetting(f"what {self.what!r}; accepted: {', '.join(KINDS)}")
        if self.what == INPAINTING and self.mask is None:
            raise BadSetting("mask: missing; accepted: a picture that is white where nothing is known, for inpainting")
        require_finish(self.finish)
        for name, given, wanted in (("mask", self.mask, INPAINTING), ("hints", self.hints, COLORIZATION)):
            if given and self.what != wanted:
                raise BadSetting(f"{name}: with {self.what}; accepted: with {wanted}")
        if self.what == SUPER_RESOLUTION and self.searched:
            named = "diverse" if self.diverse > 1 else "towards"
            raise BadSetting(f"{named}: with {self.what}; accepted: with {INPAINTING} and {COLORIZATION}")

    @property
    def searched(self) -> bool:
        """Whether results are looked for, and not the plain one."""
        return self.diverse > 1 or self.towards is not None


async def read_generation(request: Request, most_bytes: int, most_diverse: int) -> Generation:
    """Read a request's form; errors as of `form.read_form`."""
    return await read_fields(request, most_bytes, FIELDS, lambda form: _asked(form, most_diverse))


async def _asked(form: FormData, most_diverse: int) -> Generation:
    what = one(form, "what", "")
    (content,) = await files(form, "content", 1, 1)
    mask, hints = await file_or_none(form, "mask"), flag("hints", one(form, "hints", "false"))
    finish = one(form, "finish", "")
    if finish and what != INPAINTING:
        raise BadSetting(f"finish: with {what}; accepted: with {INPAINTING}")
    return Generation(what, content, mask, hints, *await results(form, most_diverse), finish or TEXTURED)
