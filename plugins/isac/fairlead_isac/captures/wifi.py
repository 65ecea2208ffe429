"""Channel state information of Wi-Fi packets, recorded with Intel 5300 cards (Halperin et al. 2011, Linux CSI tool).

A file is a row of records: length (16 bit, big endian), code, body. Records of code 0xBB hold 20 bytes of header and
the channel of 30 subcarriers: 3 bits apart, 8 bits each for the real and the imaginary part.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .problems import BadCapture, content
from .surface import Axis, Surface

SUBCARRIERS = 30
_CODE = 0xBB
_HEADER = struct.Struct("<IHHBBBBBbBBHH")


@dataclass(frozen=True)
class ChannelState:
    """A recording.

    Attributes:
        path: of the file.
        channels: complex [packets, subcarriers, receive antennas, send antennas], in the card's units.
        times_s: [packets], from the first packet.
        strengths: of the signal per receive antenna (RSSI), [packets, 3] in dB to the card's reference.
        noise_dbm: [packets]; -127 where the card does not tell.
        skipped: packets with other numbers of antennas than the most have.
    """

    path: Path
    channels: NDArray[np.complex128]
    times_s: NDArray[np.float64]
    strengths: NDArray[np.int64]
    noise_dbm: NDArray[np.int64]
    skipped: int

    def surface(self) -> Surface:
        """Amplitudes of the first pair of antennas over subcarriers and packets, each packet's mean power 0 dB."""
        power = np.abs(self.channels[:, :, 0, 0].T) ** 2
        levels = 10 * np.log10(np.maximum(power / np.maximum(power.mean(axis=0), 1e-12), 1e-6))
        packets = np.arange(len(self.times_s), dtype=np.float64)
        note = f"{len(packets)} packets in {self.times_s[-1]:.1f} s"
        rows = Axis("Subcarrier (of the 30 reported)", "", np.arange(SUBCARRIERS) + 1.0)
        columns = Axis("Packet", "", packets)
        scale = "Power over the packet's mean (dB)"
        return Surface("CSI", self.path.stem, levels, rows, columns, notes=(note,), scale=scale)


def read_intel(path: Path) -> ChannelState:
    """Read a recording of the Linux CSI tool.

    Raises:
        BadCapture: a record is cut off or says what cannot be, or no packet is whole.
    """
    data = content(path)
    headers, bodies = [], []
    for begin, body in _records(path, data):
        header = _HEADER.unpack_from(body)
        _check(path, begin, header, len(body))
        headers.append(header)
        bodies.append(body)
    if not headers:
        raise BadCapture(path, "packets", 0, "at least one record of code 0xBB with channel state")
    pairs = [(header[3], header[4]) for header in headers]
    usual = max(set(pairs), key=pairs.count)
    kept = [index for index, pair in enumerate(pairs) if pair == usual]
    table = np.array([headers[index] for index in kept], np.int64)
    channels = _unpacked([bodies[index][_HEADER.size :] for index in kept], *usual)
    ticks = np.unwrap(table[:, 0].astype(np.float64), period=2.0**32)
    return ChannelState(
        path,
        _by_antenna(channels, table[:, 10], usual[0]),
        (ticks - ticks[0]) / 1e6,
        table[:, 5:8],
        table[:, 8],
        len(headers) - len(kept),
    )


def _records(path: Path, data: bytes) -> list[tuple[int, bytes]]:
    """Places and bodies of the records with channel state."""
    found, at = [], 0
    while at < len(data):
        if at + 3 > len(data):
            raise BadCapture(path, f"record at byte {at}", f"{len(data) - at} bytes", "a length of 2 bytes and a code")
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 1 or at + 2 + length > len(data):
            accepted = f"1 to the {len(data) - at - 2} bytes that are left"
            raise BadCapture(path, f"record at byte {at}: length", length, accepted)
        if data[at + 2] == _CODE:
            if length - 1 < _HEADER.size:
                raise BadCapture(path, f"record at byte {at}: length", length, f"at least {_HEADER.size + 1}")
            found.append((at, data[at + 3 : at + 2 + length]))
        at += 2 + length
    return found


def _check(path: Path, begin: int, header: tuple[int, ...], size: int) -> None:
    receive, send, length = header[3], header[4], header[11]
    if not (1 <= receive <= 3 and 1 <= send <= 3):
        raise BadCapture(path, f"record at byte {begin}: antennas", f"{receive} x {send}", "1 to 3 each")
    expected = (SUBCARRIERS * (receive * send * 16 + 3) + 7) // 8
    if length != expected or size - _HEADER.size < expected:
        found = f"{length}, with {size - _HEADER.size} bytes there"
        raise BadCapture(path, f"record at byte {begin}: channel bytes", found, f"{expected} for {receive} x {send}")


def _unpacked(bodies: list[bytes], receive: int, send: int) -> NDArray[np.complex128]:
    """Complex [packets, subcarriers, receive, send] of the packed bits."""
    each = receive * send * 16 + 3
    packed = np.frombuffer(b"".join(body[: (SUBCARRIERS * each + 7) // 8] for body in bodies), np.uint8)
    bits = np.unpackbits(packed.reshape(len(bodies), -1), axis=1, bitorder="little")[:, : SUBCARRIERS * each]
    numbers = bits.reshape(len(bodies), SUBCARRIERS, each)[:, :, 3:].reshape(len(bodies), SUBCARRIERS, -1, 8)
    parts = np.packbits(numbers, axis=-1, bitorder="little")[..., 0].view(np.int8)
    parts = parts.reshape(len(bodies), SUBCARRIERS, receive, send, 2).astype(np.float64)
    return parts[..., 0] + 1j * parts[..., 1]


def _by_antenna(channels: NDArray[np.complex128], selection: NDArray[np.int64], receive: int) -> NDArray[np.complex128]:
    """Receive antennas in the order of their sockets: each two bits of the selection name one."""
    order = selection[:, None] >> (2 * np.arange(receive)) & 3
    valid = (np.sort(order, axis=1) == np.arange(receive)).all(axis=1)
    ordered = channels.copy()
    packets = np.flatnonzero(valid)
    ordered[packets[:, None], :, order[packets]] = channels[packets].transpose(0, 2, 1, 3)
    return ordered
