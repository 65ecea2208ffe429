"""Colours come in as their profile means them; numbers that are sRGB, masks and alpha stay; no profile does harm."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairlead_stylization.errors import BadPicture
from fairlead_stylization.pictures import Picture, encode_picture, read_mask, read_picture, read_stored
from fairlead_stylization.pictures.profiles import MOST_BYTES, in_srgb
from tests.plugins.stylization.pictures import icc

P3 = icc.rgb_profile(icc.DISPLAY_P3, icc.CURVE, "Display P3")
ADOBE = icc.rgb_profile(icc.ADOBE_RGB, (563 / 256,), "Adobe RGB (1998)")
P3_SAID = "Display P3 to sRGB by its colour profile"
DAMAGED = "colour profile passed over: it is damaged"
OTHER = "colour profile passed over: it is of another kind of picture"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def file(pixels: np.ndarray | Image.Image, profile: bytes, format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, format, icc_profile=profile, **options)
    return out.getvalue()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("profile", "space", "gamma"), [(P3, icc.DISPLAY_P3, None), (ADOBE, icc.ADOBE_RGB, 563 / 256)], ids=["P3", "Adobe"]
)
def test_colours_are_what_their_space_means(
    profile: bytes, space: tuple[tuple[float, float], ...], gamma: float | None, format: str
) -> None:
    pixels = noise(40, 30, 3)
    options = {"lossless": True} if format == "WEBP" else {}
    stored = read_stored(file(pixels, profile, format, **options))
    assert stored.pixels.dtype == np.uint8 and stored.conversions[0].endswith("to sRGB by its colour profile")
    # Half of a level is rounding, the rest LittleCMS's fixed point.
    np.testing.assert_allclose(stored.pixels, icc.srgb_of(pixels, space, gamma), atol=1)
    assert np.abs(stored.pixels.astype(int) - pixels).mean() > 8


def test_known_colours_of_a_telephones_photograph() -> None:
    """Display P3 (234, 51, 35) is sRGB's pure red, as colour pickers have it; greys are the same in both."""
    pixels = np.repeat(np.array([[[234, 51, 35], [128, 128, 128], [255, 255, 255], [0, 0, 0]]], np.uint8), 16, 1)
    picture = read_picture(file(pixels.repeat(16, 0), P3, "JPEG", quality=100, subsampling=0))
    assert picture.conversions == (P3_SAID,)
    shown = np.round(picture.pixels[8, 8::16] * 255)
    np.testing.assert_allclose(shown, [[255, 0, 0], [128, 128, 128], [255, 255, 255], [0, 0, 0]], atol=2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("profile", [icc.shipped_srgb(), icc.rgb_profile(icc.SRGB, icc.CURVE)], ids=["lcms", "built"])
def test_what_is_srgb_stays_to_the_bit(mode: str, profile: bytes) -> None:
    image = Image.fromarray(noise(30, 20, 4)).convert(mode)
    stored, plain = read_stored(file(image, profile)), read_stored(file(image, b""))
    np.testing.assert_array_equal(stored.pixels, plain.pixels)
    assert stored.conversions == plain.conversions


def test_alpha_is_kept_where_colours_change() -> None:
    pixels = noise(20, 30, 4)
    stored = read_stored(file(pixels, P3))
    assert stored.alpha is not None
    np.testing.assert_array_equal(stored.alpha, pixels[..., 3])
    np.testing.assert_allclose(stored.pixels, icc.srgb_of(pixels[..., :3], icc.DISPLAY_P3), atol=1)


def test_grey_with_alpha_goes_by_a_grey_profile() -> None:
    pixels = np.stack([np.tile(np.arange(256, dtype=np.uint8), (4, 1)), noise(4, 256)], -1)
    stored = read_stored(file(Image.fromarray(pixels), icc.grey_profile(1.8)))
    assert stored.alpha is not None
    np.testing.assert_array_equal(stored.alpha, pixels[..., 1])
    expected = icc.srgb_of(pixels[..., :1].repeat(3, -1), icc.SRGB, 1.8)
    np.testing.assert_allclose(stored.pixels, expected, atol=2)
    assert (stored.pixels == stored.pixels[..., :1]).all(), "grey stays grey"


def test_a_palette_has_its_colours_and_its_clear_one() -> None:
    image = Image.fromarray(noise(6, 5, 3)).quantize(8)
    colours = np.asarray(image.convert("RGB"))
    stored = read_stored(file(image, P3, transparency=3))
    np.testing.assert_allclose(stored.pixels, icc.srgb_of(colours, icc.DISPLAY_P3), atol=1)
    assert stored.alpha is not None
    np.testing.assert_array_equal(stored.alpha == 0, np.asarray(image) == 3)


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_inks_are_what_their_profile_means(format: str) -> None:
    inks = noise(16, 16, 4)
    image = Image.fromarray(inks, "CMYK")
    options = {"quality": 100} if format == "JPEG" else {}
    stored = read_stored(file(image, icc.ink_profile("Coated"), format, **options))
    assert stored.conversions == ("Coated to sRGB by its colour profile",)
    np.testing.assert_allclose(stored.pixels, icc.srgb_of_inks(inks)[..., None].repeat(3, -1), atol=2)
    plain = read_stored(file(image, b"", format, **options))
    assert plain.conversions == ("CMYK to RGB without a colour profile",)
    assert np.abs(stored.pixels.astype(int) - plain.pixels).mean() > 20


def test_a_picture_is_turned_and_converted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(8, 12, 3)
    stored = read_stored(file(pixels, P3, exif=exif))
    assert stored.conversions == ("turned as its orientation says", P3_SAID)
    np.testing.assert_allclose(stored.pixels, icc.srgb_of(np.rot90(pixels, -1), icc.DISPLAY_P3), atol=1)


@pytest.mark.parametrize(
    ("mode", "profile", "said"),
    [
        ("RGB", b"no profile at all", DAMAGED),
        ("RGB", P3[:200], DAMAGED),
        ("RGB", P3.replace(b"rXYZ", b"xxxx"), DAMAGED),
        ("RGB", icc.grey_profile(2.2), OTHER),
        ("RGB", icc.ink_profile(), OTHER),
        ("L", icc.ink_profile(), OTHER),
        ("CMYK", P3, OTHER),
        ("RGB", P3.replace(b"mntr", b"link"), OTHER),
        ("RGB", P3.ljust(MOST_BYTES + 1, b"\0"), "colour profile passed over: larger than 4 MiB"),
        ("RGB", P3 + b"mpet", "colour profile passed over: made of processing elements"),
    ],
    ids=["text", "cut", "no-red", "grey", "inks", "grey-inks", "rgb-inks", "link", "huge", "steps"],
)
def test_a_profile_that_cannot_be_followed_is_passed_over_and_told(mode: str, profile: bytes, said: str) -> None:
    image = Image.fromarray(noise(12, 10, 3)).convert(mode)
    stored, plain = read_stored(file(image, profile, "TIFF")), read_stored(file(image, b"", "TIFF"))
    np.testing.assert_array_equal(stored.pixels, plain.pixels)
    assert sorted(stored.conversions) == sorted((*plain.conversions, said))


@pytest.mark.parametrize("value", [7, 1.5, "text"])
def test_a_tiffs_profile_may_be_no_bytes(value: object) -> None:
    image = Image.fromarray(noise(4, 5, 3))
    image.info["icc_profile"] = value
    same, said = in_srgb(image)
    assert same is image and said == DAMAGED


def test_deep_pictures_are_read_without_their_profile() -> None:
    deep = Image.fromarray(noise(9, 7).astype(np.uint16) * 200)
    stored, plain = read_stored(file(deep, icc.grey_profile(1.8))), read_stored(file(deep, b""))
    np.testing.assert_array_equal(stored.pixels, plain.pixels)
    assert any("more than 8 bits" in text for text in stored.conversions)


def test_a_profile_that_unpacks_to_a_bomb_is_not_unpacked() -> None:
    """A PNG of 40 kB whose profile would take 40 MB."""
    content = file(noise(4, 4, 3), b"")
    data = b"x\0\0" + zlib.compress(bytes(40_000_000), 9)
    chunk = struct.pack(">I", len(data)) + b"iCCP" + data + struct.pack(">I", zlib.crc32(b"iCCP" + data))
    with pytest.raises(BadPicture, match="too large"):
        read_stored(content[:33] + chunk + content[33:])


def test_a_broken_picture_is_no_broken_profile() -> None:
    content = file(noise(64, 64, 3), P3, "JPEG")
    with pytest.raises(BadPicture, match="cannot be decoded"):
        read_stored(content[: len(content) // 2])


def test_what_a_profile_calls_itself_does_no_harm() -> None:
    named = icc.rgb_profile(icc.DISPLAY_P3, icc.CURVE, "Très\r\nSet-Cookie: a=b; <b>" + "x" * 5000)
    (said,) = read_stored(file(noise(4, 4, 3), named)).conversions
    assert said.isascii() and len(said) < 80 and not set(said) & set("\r\n:;<=")
    nameless = icc.rgb_profile(icc.DISPLAY_P3, icc.CURVE, "")
    assert read_stored(file(noise(4, 4, 3), nameless)).conversions == ("colours to sRGB by its colour profile",)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_any_damage_of_a_profile_leaves_a_picture(mode: str) -> None:
    profile = {"RGB": P3, "L": icc.grey_profile(2.2), "CMYK": icc.ink_profile()}[mode]
    image, random = Image.fromarray(noise(4, 4, 3)).convert(mode), np.random.default_rng(7)
    for _ in range(100):
        damaged = bytearray(profile[: random.integers(len(profile) // 2, len(profile) + 1)])
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = int(random.integers(256))
        assert read_stored(file(image, bytes(damaged), "TIFF")).pixels.shape == (4, 4, 3)


def test_masks_are_numbers_not_colours() -> None:
    mask = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    read = read_mask(file(mask, icc.grey_profile(1.0)), Picture(np.zeros((32, 32, 3), np.float32)))
    np.testing.assert_allclose(read, mask / 255, atol=1e-6)


def test_what_is_written_has_no_profile_so_that_viewers_take_it_as_srgb() -> None:
    picture = read_picture(file(noise(8, 8, 3), P3))
    for format in ("PNG", "JPEG", "WEBP", "TIFF"):
        with Image.open(io.BytesIO(encode_picture(picture, format))) as written:
            assert "icc_profile" not in written.info


def test_a_file_that_is_mapped_into_memory_is_not_written_to(tmp_path: Path) -> None:
    path, pixels = tmp_path / "clear.tif", noise(16, 16, 4)
    path.write_bytes(file(pixels, P3, "TIFF"))
    before = path.read_bytes()
    with Image.open(path) as image:
        image.load()
        converted, said = in_srgb(image)
    assert said == P3_SAID and path.read_bytes() == before
    np.testing.assert_array_equal(np.asarray(converted)[..., 3], pixels[..., 3])
