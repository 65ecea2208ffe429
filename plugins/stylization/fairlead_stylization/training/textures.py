"""Procedural textures: styles that no painting gives, drawn from a seed (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def _noise(random: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """Smooth noise in [0, 1]: random values at a grid's corners, interpolated."""
    grid = random.random((cells + 2, cells + 2), dtype=np.float32)
    places = np.linspace(0, cells, size, endpoint=False)
    whole = places.astype(int)
    part = (places - whole) ** 2 * (3 - 2 * (places - whole))
    rows = grid[whole] * (1 - part)[:, None] + grid[whole + 1] * part[:, None]
    return (rows[:, whole] * (1 - part) + rows[:, whole + 1] * part).astype(np.float32)


def _octaves(random: np.random.Generator, size: int) -> NDArray[np.float32]:
    first = int(random.integers(2, 12))
    layers = [_noise(random, size, min(first * 2**level, size // 2)) / 2**level for level in range(4)]
    return sum(layers[1:], layers[0]) / 1.875


def _stripes(random: np.random.Generator, size: int) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:size, :size] / size
    angle, count = random.uniform(0, np.pi), random.uniform(4, 40)
    bent = _octaves(random, size) * random.uniform(0, 0.3)
    phase = (rows * np.sin(angle) + columns * np.cos(angle) + bent) * count
    return (0.5 + 0.5 * np.tanh(random.uniform(1, 6) * np.sin(2 * np.pi * phase))).astype(np.float32)


def _cells(random: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Areas around random points, at a third of the size."""
    small = -(-size // 3)
    count = int(random.integers(20, 120))
    points = random.random((count, 2), dtype=np.float32) * small
    rows, columns = np.mgrid[:small, :small].astype(np.float32)
    distances = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    values = random.random(count, dtype=np.float32)[distances.argmin(2)]
    return values.repeat(3, 0).repeat(3, 1)[:size, :size]


def _palette(random: np.random.Generator, values: NDArray[np.float32]) -> Picture:
    """Values in [0, 1] -> colours between a few random ones."""
    colours = random.random((int(random.integers(2, 6)), 3)) * 255
    place = np.clip(values, 0, 1) * (len(colours) - 1)
    channels = [np.interp(place, np.arange(len(colours)), colours[:, channel]) for channel in range(3)]
    return np.stack(channels, 2).astype(np.uint8)


def textures(count: int, size: int, seed: int) -> list[Picture]:
    """Pictures [size, size, 3]: clouds, stripes and cells in random colours."""
    random = np.random.default_rng(seed)
    kinds = (_octaves, _stripes, _cells)
    return [_palette(random, kinds[index % len(kinds)](random, size)) for index in range(count)]
