"""Every kind of picture that people have is read, converted or refused by name, and bombs are refused unread."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairlead_stylization.errors import BadPicture
from fairlead_stylization.pictures import (
    Limits,
    Picture,
    encode_picture,
    pixels_of,
    read_mask,
    read_picture,
    read_stored,
    write_picture,
)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_lossless_picture_comes_in_as_it_is(format: str) -> None:
    pixels = noise(5, 7, 3)
    options = {"lossless": True} if format == "WEBP" else {}
    picture = read_picture(encoded(Image.fromarray(pixels), format, **options))
    assert picture.pixels.dtype == np.float32 and picture.alpha is None and not picture.conversions
    np.testing.assert_array_equal(np.round(picture.pixels * 255), pixels)


def test_grey_becomes_colour_and_says_so() -> None:
    picture = read_picture(encoded(Image.fromarray(noise(4, 6))))
    assert picture.pixels.shape == (4, 6, 3) and picture.conversions == ("grey to colour",)
    assert (picture.pixels[..., 0] == picture.pixels[..., 2]).all()


def test_sixteen_bits_keep_their_range() -> None:
    deep = np.linspace(0, 65535, 24).reshape(4, 6).astype(np.uint16)
    picture = read_picture(encoded(Image.fromarray(deep)))
    np.testing.assert_allclose(picture.pixels[..., 1], deep / 65535, atol=1e-6)
    assert "16 bit to float" in picture.conversions


def test_alpha_is_kept_and_written_again(tmp_path: Path) -> None:
    pixels = noise(6, 5, 4)
    picture = read_picture(encoded(Image.fromarray(pixels)))
    assert picture.alpha is not None
    again = read_picture(write_picture(picture, tmp_path / "out.png"))
    assert again.alpha is not None
    np.testing.assert_array_equal(np.round(again.alpha * 255), pixels[..., 3])
    np.testing.assert_array_equal(np.round(again.pixels * 255), pixels[..., :3])


def test_alpha_is_laid_over_white_where_there_is_none() -> None:
    clear = Picture(np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.float32))
    assert read_picture(encode_picture(clear, "JPEG")).pixels.min() > 0.98


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (10, 200)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    picture = read_picture(content)
    assert "the first of 2 frames" in picture.conversions
    assert picture.pixels.max() < 0.1


def test_the_orientation_of_a_camera_is_applied() -> None:
    image = Image.fromarray(noise(4, 9, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read_picture(encoded(image, "JPEG", exif=exif))
    assert (picture.height, picture.width) == (9, 4) and "turned as its orientation says" in picture.conversions


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "L"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    format = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    picture = read_picture(encoded(Image.fromarray(noise(8, 8, 3)).convert(mode), format))
    assert picture.pixels.shape == (8, 8, 3) and 0 <= picture.pixels.min() <= picture.pixels.max() <= 1


def test_one_pixel_is_a_picture() -> None:
    assert read_picture(encoded(Image.fromarray(noise(1, 1, 3)))).pixels.shape == (1, 1, 3)


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that states a huge size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_bomb_is_refused_by_its_size(side: int) -> None:
    with pytest.raises(BadPicture, match=f"(?s)bomb.png.*{side}|bomb.png.*pixels"):
        read_picture(bomb(side), name="bomb.png")


def test_who_may_change_the_limit_is_told_what_to_change() -> None:
    content = encoded(Image.fromarray(noise(20, 20)))
    with pytest.raises(BadPicture, match=r"20x20 pixels; accepted: at most 100 in all \(`max_pixels` of the config\)"):
        read_picture(content, limits=Limits(100, set_by="`max_pixels` of the config"))


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole of a terabyte
    with pytest.raises(BadPicture, match=r"huge.png: 1001 bytes; accepted: at most 1000"):
        read_picture(path, limits=Limits(file_bytes=1000))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(BadPicture, match=r"upload: .*accepted"):
        read_picture(content, name="upload")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_any_damage_raises_one_kind_of_error(format: str) -> None:
    content = encoded(Image.fromarray(noise(32, 32, 3)), format)
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(content[: rng.integers(1, len(content))])
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] ^= int(rng.integers(1, 256))
        try:
            read_picture(bytes(damaged), limits=Limits(pixels=10_000))
        except BadPicture as error:
            assert "accepted" in str(error) or "picture" in str(error)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_what_is_stored_is_what_is_read(mode: str) -> None:
    pixels = noise(9, 7, 4)
    image = Image.fromarray(pixels[..., :3] if mode != "RGBA" else pixels)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    content = encoded(deep if mode == "I;16" else image.convert(mode))
    stored, read = read_stored(content), read_picture(content)
    assert stored.pixels.dtype == (np.float32 if mode == "I;16" else np.uint8)
    np.testing.assert_array_equal(stored.picture().pixels, read.pixels)
    assert stored.conversions == read.conversions and read.pixels.flags.c_contiguous
    assert (stored.alpha is None) == (read.alpha is None) == (mode != "RGBA")


def test_a_header_tells_how_large_a_picture_is() -> None:
    assert pixels_of(encoded(Image.fromarray(noise(20, 30, 3))), Limits()) == 600
    assert pixels_of(bomb(9_000), Limits(pixels=1000)) == pixels_of(b"nothing", Limits()) == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match=r"none\.png: No such file"):
        read_picture(tmp_path / "none.png")


def test_a_mask_of_the_same_shape_is_resized_and_another_refused() -> None:
    picture = Picture(np.zeros((40, 60, 3), np.float32))
    half = np.zeros((20, 30), np.uint8)
    half[:, 15:] = 255
    mask = read_mask(encoded(Image.fromarray(half)), picture)
    assert mask.shape == (40, 60) and mask[0, 0] == 0 and mask[0, -1] == 1
    with pytest.raises(BadPicture, match=r"mask: 20x20 pixels; accepted: 60x40"):
        read_mask(encoded(Image.fromarray(noise(20, 20))), picture)


def test_writing_replaces_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.png"
    picture = Picture(np.random.default_rng(3).random((4, 4, 3), np.float32))
    write_picture(picture, path)
    with pytest.raises(BadPicture, match="not finite"):
        write_picture(picture.with_pixels(np.full((4, 4, 3), np.nan, np.float32)), path)
    assert read_picture(path).pixels.shape == (4, 4, 3)
    assert [item.name for item in path.parent.iterdir()] == ["out.png"]
    with pytest.raises(BadPicture, match=r"ending '.xyz'"):
        write_picture(picture, tmp_path / "out.xyz")
