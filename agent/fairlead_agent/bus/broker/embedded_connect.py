"""The first packet of a connection to the embedded broker."""

# amqtt has no type stubs; its own annotations are used.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from amqtt.adapters import BufferReader, ReaderAdapter, WriterAdapter

CONNECT_TYPE = 1
MQTT_3_1_1 = b"\x00\x04MQTT\x04"
WRONG_VERSION = b"\x20\x02\x00\x01"
MAX_CONNECT_BYTES = 2 << 20


async def read_connect(reader: ReaderAdapter, writer: WriterAdapter) -> BufferReader:
    """Read the CONNECT packet whole.

    amqtt 0.12 reads a CONNECT of MQTT 5 as if it were one of 3.1.1 and waits for bytes that never come; such a client
    is told at once to come back with 3.1.1.

    Raises:
        ValueError: another packet, another version, or too large.
    """
    first = await reader.read(1)
    length, field = await _read_length(reader)
    if first[0] >> 4 != CONNECT_TYPE or length > MAX_CONNECT_BYTES:
        raise ValueError(f"packet of type {first[0] >> 4} and {length} bytes, a CONNECT was expected")
    body = await reader.read(length)
    if not body.startswith(MQTT_3_1_1):
        writer.write(WRONG_VERSION)
        await writer.drain()
        raise ValueError("only MQTT 3.1.1 is spoken here")
    return BufferReader(first + field + body)


async def _read_length(reader: ReaderAdapter) -> tuple[int, bytes]:
    # MQTT 3.1.1, section 2.2.3: seven bits a byte, least significant first, at most four bytes.
    length, field = 0, b""
    for shift in (0, 7, 14, 21):
        byte = await reader.read(1)
        field += byte
        length |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return length, field
    raise ValueError("the packet's length has more than four bytes")
