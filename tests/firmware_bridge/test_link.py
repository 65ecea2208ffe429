from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.link import Link, Links, LinkSensor
from fairlead_bridge.netlink import NEW_ADDRESS, NEW_LINK, AddressMessage, LinkMessage, parse
from fairlead_bridge.reading import Missing
from tests.firmware_bridge.trees import Device


def read(device: Device) -> dict[str, Link]:
    links = LinkSensor(device.roots, address_source=lambda: {2: ("192.0.2.7/24",)}).read()
    assert isinstance(links, Links), links
    return {link.name: link for link in links.links}


def message(kind: int, body: bytes, attributes: list[tuple[int, bytes]]) -> bytes:
    for number, value in attributes:
        padding = b"\0" * (-len(value) % 4)
        body += struct.pack("=HH", 4 + len(value), number) + value + padding
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


LINK = message(
    NEW_LINK,
    struct.pack("=BxHiII", 0, 1, 7, 0x1043, 0),
    [(3, b"eth0\0"), (1, bytes.fromhex("020000000007")), (4, struct.pack("=I", 1500)), (16, b"\6")],
)
ADDRESS = message(
    NEW_ADDRESS, struct.pack("=BBBBI", 2, 24, 0, 0, 7), [(1, bytes([192, 0, 2, 1])), (2, bytes([192, 0, 2, 9]))]
)


def test_kinds_and_speeds_of_an_edge_box(an_edge_box: Device) -> None:
    links = read(an_edge_box)
    assert {name: link.kind for name, link in links.items()} == {
        "enp1s0": "ethernet",
        "lo": "loopback",
        "wg0": "tunnel",
    }
    wired = links["enp1s0"]
    assert wired.speed_bits_per_s == 2_500_000_000
    assert wired.full_duplex is True and not wired.virtual
    assert wired.addresses == ("192.0.2.7/24",)
    assert wired.traffic.received_bytes == 2000
    assert isinstance(links["wg0"].speed_bits_per_s, Missing)
    assert links["lo"].addresses == ()


def test_a_phone_has_wireless_and_cellular_links(a_phone: Device) -> None:
    links = read(a_phone)
    assert links["wlan0"].kind == "wireless"
    assert links["wlan0"].wireless and links["wlan0"].wireless.signal_dbm == -56
    assert links["rmnet_data0"].kind == "cellular"
    assert links["rmnet_data0"].carrier is False


def test_addresses_of_a_fake_device_are_not_taken_from_this_one(an_edge_box: Device) -> None:
    links = LinkSensor(an_edge_box.roots).read()
    assert isinstance(links, Links)
    assert all(isinstance(link.addresses, Missing) for link in links.links)


def test_forbidden_netlink_costs_only_the_addresses(an_edge_box: Device) -> None:
    def forbidden() -> dict[int, tuple[str, ...]]:
        raise PermissionError(13, "Permission denied")

    links = LinkSensor(an_edge_box.roots, address_source=forbidden).read()
    assert isinstance(links, Links)
    addresses = links.links[0].addresses
    assert isinstance(addresses, Missing) and addresses.kind == "denied"
    assert links.links[0].mtu_bytes == 1500


def test_messages_of_the_kernel_are_understood() -> None:
    link, address = parse(LINK + ADDRESS)
    assert link == LinkMessage(7, "eth0", False, True, "up", 1500, "02:00:00:00:00:07")
    assert address == AddressMessage(7, "192.0.2.9/24", False)


@settings(derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_nothing(data: bytes) -> None:
    assert all(isinstance(item, LinkMessage | AddressMessage) for item in parse(data))


@settings(derandomize=True)
@given(st.data())
def test_a_cut_or_corrupted_datagram_does_not_raise(data: st.DataObject) -> None:
    whole = bytearray(LINK + ADDRESS)
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    list(parse(bytes(whole[: data.draw(st.integers(0, len(whole)))])))


def test_real_links_of_this_machine() -> None:
    links = LinkSensor().read()
    assert isinstance(links, Links)
    loopback = next(link for link in links.links if link.kind == "loopback")
    assert isinstance(loopback.addresses, Missing) or any(item.startswith("127.") for item in loopback.addresses)
