"""Recordings made here, byte by byte, as the devices' programs write them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest


def real(*parts: str) -> Path:
    """A recorded file of the data folder; the test is skipped where it is not there."""
    path = Path(os.environ.get("FAIRLEAD_DATA", "/nonexistent"), "radio", *parts)
    if not path.exists():
        pytest.skip(f"no recorded data here (FAIRLEAD_DATA): {'/'.join(parts)}")
    return path


def matlab_bytes(name: str, values: np.ndarray, compressed: bool = False, order: str = "<") -> bytes:
    """A level 5 file with one real matrix."""

    def element(kind: int, body: bytes) -> bytes:
        return struct.pack(order + "II", kind, len(body)) + body + b"\0" * (-len(body) % 8)

    types = {"f4": (7, 7), "f8": (6, 9), "i2": (10, 3)}
    kind, number = types[values.dtype.str[1:]]
    body = element(6, struct.pack(order + "II", kind, 0)) + element(5, struct.pack(order + "ii", *values.shape))
    body += element(1, name.encode()) + element(number, values.astype(order + values.dtype.str[1:]).tobytes(order="F"))
    whole = element(14, body)
    if compressed:
        packed = zlib.compress(whole)
        whole = struct.pack(order + "II", 15, len(packed)) + packed
    mark = b"IM" if order == "<" else b"MI"
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(order + "H", 0x0100) + mark + whole


def map_levels(targets: list[tuple[float, float, float]], seed: int = 1) -> np.ndarray:
    """Decibels of an OpenISAC-like map of noise of 0 dB (padding 10 and 5) with (row, column, power) peaks."""
    from fairlead_isac.physics.channel import gaussian
    from fairlead_isac.physics.range_doppler import Processing, transformed

    rng, processing = np.random.default_rng(seed), Processing(("hamming", "hamming"), (10, 5))
    n, m = np.arange(40)[:, None], np.arange(60)
    grid = gaussian((40, 60), rng)
    for row, column, power in targets:
        phase = -n * row / 400 + m * (column - 150) / 300
        grid += np.sqrt(power / 2400) * np.exp(2j * np.pi * phase)
    return 20 * np.log10(np.abs(transformed(grid, processing)))


def csi_record(channel: np.ndarray, ticks: int, selection: int = 0b100100) -> bytes:
    """A packet of the Linux CSI tool: whole numbers, complex [30, receive, send], antennas as the card orders them."""
    _, receive, send = channel.shape
    bits = []
    for subcarrier in channel.reshape(30, -1):
        bits += [0, 0, 0]
        for value in subcarrier:
            for part in (int(value.real), int(value.imag)):
                bits += [part >> place & 1 for place in range(8)]
    payload = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()
    size = (30 * (receive * send * 16 + 3) + 7) // 8
    payload = payload.ljust(size, b"\0")
    header = struct.pack("<IHHBBBBBbBBHH", ticks, 7, 0, receive, send, 30, 31, 32, -90, 35, selection, size, 0x101)
    return struct.pack(">HB", 1 + len(header) + size, 0xBB) + header + payload
