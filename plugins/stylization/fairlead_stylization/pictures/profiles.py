"""Embedded ICC profiles: colours of other spaces become sRGB, which is what every part takes pictures to be.

Telephones write Display P3, scanners and cameras Adobe RGB, print shops CMYK; read as if they were sRGB, such colours
are paler than they should be, or plainly others. LittleCMS, which Pillow brings, converts 8-bit pixels in place.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

#: What a profile may take: tables of printers come to 3 MiB. Larger ones are not parsed.
MOST_BYTES = 4 << 20
#: By how much a space may differ from sRGB, of 255, so that its numbers are left as they are: its rounding.
_SAME = 1
#: Where a header states what it is (ICC.1:2022, table 17): the device's class, and the space of its numbers.
_CLASS, _SPACE = slice(12, 16), slice(16, 20)
#: Of steps (ICC.1:2022, 10.16): of these alone a small profile may state any number, and so take minutes.
_STEPS = b"mpet"
_COLOURS = (b"scnr", b"mntr", b"prtr", b"spac")
_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")
_GREY = ("1", "L", "LA")
#: White stays white and black black, as print shops and editors of pictures have it.
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def in_srgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return a picture in sRGB by its own profile, and what was done in words ("": it has none, or is sRGB already).

    Pictures of 8 bits are converted, in place where their mode is RGB or RGBA; alpha stays as it is. A profile that
    cannot be followed is passed over, and that is said: one that is damaged, larger than `MOST_BYTES` or of another
    space than the picture, one made of processing elements, or any on a picture of 16 bits or of floats, whose numbers
    would be cut to 8.

    Args:
        image: decoded; its pixels may be overwritten.
    """
    content = image.info.get("icc_profile")
    if not content:
        return image, ""
    if not isinstance(content, bytes):  # a TIFF's tag of another type
        return image, _passed_over("it is damaged")
    if is_deep(image):
        return image, _passed_over("pictures of more than 8 bits are read without")
    if len(content) > MOST_BYTES:
        return image, _passed_over(f"larger than {MOST_BYTES >> 20} MiB")
    if _STEPS in content:
        return image, _passed_over("made of processing elements")
    try:
        return _by_profile(image, content)
    except ImportError:  # some systems build Pillow without LittleCMS
        return image, _passed_over("Pillow was built without LittleCMS")
    except Exception:  # damaged profiles make LittleCMS and Pillow raise what they like
        return image, _passed_over("it is damaged")


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has 16 or 32 bits, or floats, for a number."""
    return image.mode.startswith("I") or image.mode == "F"


def _passed_over(reason: str) -> str:
    return f"colour profile passed over: {reason}"


def _by_profile(image: Image.Image, content: bytes) -> tuple[Image.Image, str]:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
    mode = _mode(image, content[_SPACE]) if content[_CLASS] in _COLOURS else None
    if mode is None:
        return image, _passed_over("it is of another kind of picture")
    if not _changes(profile, mode):
        return image, ""
    return _transformed(image, profile, mode), f"{_named(profile)} to sRGB by its colour profile"


def _mode(image: Image.Image, space: bytes) -> str | None:
    """What a profile's numbers are, in Pillow's words; None: not this picture's.

    Grey pictures may have a profile of RGB: editors leave it there when they take the colours away.
    """
    mode = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}.get(space)
    if (mode == "L" and image.mode not in _GREY) or (mode == "CMYK") != (image.mode == "CMYK") or image.mode == "LAB":
        return None
    return mode


def _changes(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Whether numbers of a profile mean other colours than sRGB's do, by greys and the corners of a lattice."""
    if mode == "CMYK":
        return True
    ramp = np.arange(256, dtype=np.uint8)
    expected = ramp[:, None].repeat(3, 1)
    if mode == "RGB":
        lattice = np.stack(np.meshgrid(*[ramp[::51]] * 3), -1).reshape(-1, 3)
        expected = np.concatenate([expected, lattice])
    probes = Image.fromarray(expected[None] if mode == "RGB" else ramp[None])
    found = np.asarray(_to_srgb(profile, mode, "RGB").apply(probes))[0]
    return bool((np.abs(found.astype(int) - expected) > _SAME).any())


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile, mode: str) -> Image.Image:
    """A picture in RGB or RGBA, by a profile of that mode."""
    if mode != "RGB":
        alpha = image.convert("RGBA").getchannel("A") if _has_alpha(image) else None
        image = _to_srgb(profile, mode, "RGB").apply(image if image.mode == mode else image.convert(mode))
        if alpha is not None:
            image.putalpha(alpha)
        return image
    if image.mode not in ("RGB", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA" if _has_alpha(image) else "RGB")
    elif image.readonly:  # its pixels are the file's, mapped
        image = image.copy()
    return _to_srgb(profile, image.mode, image.mode).apply_in_place(image)


def _to_srgb(profile: ImageCms.ImageCmsProfile, given: str, wanted: str) -> ImageCms.ImageCmsTransform:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsTransform(profile, srgb, given, wanted, _INTENT, flags=_FLAGS)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _ALPHA or "transparency" in image.info


def _named(profile: ImageCms.ImageCmsProfile) -> str:
    """What a profile calls itself, as far as that can be told in a line: it comes from whoever made the file."""
    name = (profile.profile.profile_description or "")[:40]
    told = "".join(sign for sign in name if sign.isascii() and (sign.isalnum() or sign in " -_.()")).strip()
    return told or "colours"
