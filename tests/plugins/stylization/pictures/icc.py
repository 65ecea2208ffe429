"""ICC profiles from their primaries, byte by byte (ICC.1:2022), and what colours they mean, by their own formulae."""

from __future__ import annotations

import struct

import numpy as np
from PIL import ImageCms

#: CIE xy of red, green, blue and white.
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.3290))
#: sRGB's curve as a parametric curve of type 3: g, a, b, c, d.
CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
#: White of the space that profiles are connected by.
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb_profile(primaries: tuple[tuple[float, float], ...], curve: tuple[float, ...], name: str = "a space") -> bytes:
    """A display's profile: three primaries and a curve (a gamma, or five numbers as of `CURVE`)."""
    columns = _adapted(primaries) @ _to_xyz(primaries)
    tags = {b"wtpt": _xyz(_D50), **{sign + b"XYZ": _xyz(columns[:, at]) for at, sign in enumerate((b"r", b"g", b"b"))}}
    return _profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(curve)), name)


def grey_profile(gamma: float, name: str = "grey") -> bytes:
    """A grey display's profile."""
    return _profile(b"GRAY", {b"wtpt": _xyz(_D50), b"kTRC": _curve((gamma,))}, name)


def ink_profile(name: str = "inks") -> bytes:
    """A printer's profile whose inks are all grey, each a quarter of the light: L* = 100 (1 - (c + m + y + k) / 4).

    Its table has two places for each ink (ICC.1:2022, 10.10).
    """
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij"), -1).reshape(-1, 4)
    light = 1 - corners.mean(1)
    # 16-bit Lab of version 2: L* of 100 is 0xff00, and 0x8000 neither red nor green.
    table = np.stack([light * 0xFF00, np.full(16, 0x8000), np.full(16, 0x8000)], -1).round().astype(">u2")
    ramp = struct.pack(">2H", 0, 0xFFFF)
    head = struct.pack(">4s4xBBBx9i2H", b"mft2", 4, 3, 2, *(np.eye(3).reshape(-1) * 65536).astype(int), 2, 2)
    tags = {b"wtpt": _xyz(_D50), b"A2B0": head + ramp * 4 + table.tobytes() + ramp * 3}
    return _profile(b"CMYK", tags, name, kind=b"prtr", connected=b"Lab ")


def srgb_of(values: np.ndarray, primaries: tuple[tuple[float, float], ...], gamma: float | None = None) -> np.ndarray:
    """Bytes [..., 3] of a space as sRGB's, float in [0, 255]; ``gamma``: None is sRGB's own curve."""
    values = values / 255
    light = values**gamma if gamma else np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return _bytes(np.clip(light @ (np.linalg.inv(_to_xyz(SRGB)) @ _to_xyz(primaries)).T, 0, 1))


def srgb_of_inks(inks: np.ndarray) -> np.ndarray:
    """Bytes [..., 4] under `ink_profile` as sRGB's [...], equal in all channels."""
    lightness = 100 * (1 - inks.mean(-1) / 255)
    return _bytes(np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3))


def shipped_srgb() -> bytes:
    """LittleCMS's own."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _bytes(light: np.ndarray) -> np.ndarray:
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Linear light [3] to XYZ under the space's own white."""
    columns = np.stack([_of_xy(x, y) for x, y in primaries[:3]], -1)
    return columns * np.linalg.solve(columns, _of_xy(*primaries[3]))


def _adapted(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """XYZ under the space's white to XYZ under D50, by Bradford's cones."""
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ _of_xy(*primaries[3]))
    return np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD


def _of_xy(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _xyz(value: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*value)


def _curve(numbers: tuple[float, ...]) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", {1: 0, 5: 3}[len(numbers)], 0) + _fixed(*numbers)


def _profile(
    space: bytes, tags: dict[bytes, bytes], name: str, *, kind: bytes = b"mntr", connected: bytes = b"XYZ "
) -> bytes:
    text = name.encode("utf-16-be")
    said = b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(text), 28) + text
    directory, data, place = struct.pack(">I", len(tags) + 1), b"", 128 + 4 + 12 * (len(tags) + 1)
    for sign, content in (tags | {b"desc": said}).items():
        directory += struct.pack(">4sII", sign, place + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = 128 + len(directory) + len(data)
    head = struct.pack(">I4sI4s4s4s12x4s28x", size, bytes(4), 0x04300000, kind, space, connected, b"acsp")
    return (head + _fixed(*_D50)).ljust(128, b"\0") + directory + data
