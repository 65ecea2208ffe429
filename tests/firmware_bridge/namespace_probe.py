"""Run in a private network namespace by test_link_watch: makes real changes, prints what was heard as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys

from pyroute2 import AsyncIPRoute

from fairlead_bridge.link import Links, LinkSensor
from fairlead_bridge.link_watch import LinkChange, LinkWatch
from fairlead_bridge.netlink import NEW_LINK, open_socket


async def until(watch: LinkWatch, kind: str, name: str = "") -> LinkChange:
    async for change in watch:
        if change.kind == kind and (not name or (change.link and change.link.name == name)):
            return change
    raise AssertionError("the watch ended")


async def life_of_a_link() -> dict[str, object]:
    heard: dict[str, object] = {}
    async with AsyncIPRoute() as kernel, LinkSensor().watch() as watch:
        await kernel.link("add", ifname="left", kind="veth", peer={"ifname": "right"})
        heard["new"] = (await until(watch, "link", "left")).kind
        left, right = [(await kernel.link_lookup(ifname=name))[0] for name in ("left", "right")]
        await kernel.addr("add", index=left, address="192.0.2.1", prefixlen=24)
        heard["address"] = (await until(watch, "address")).address
        await kernel.link("set", index=right, state="up")
        await kernel.link("set", index=left, state="up")
        while not (link := (await until(watch, "link", "left")).link) or not link.running:
            pass
        heard["running"] = link.index == left
        await kernel.link("set", index=left, mtu=1280)
        while not (link := (await until(watch, "link", "left")).link) or link.mtu_bytes != 1280:
            pass
        links = LinkSensor().read()
        assert isinstance(links, Links)
        heard["read"] = any(item.index == left and "192.0.2.1/24" in (item.addresses or ()) for item in links.links)
        await kernel.link("del", index=left)
        heard["gone"] = (await until(watch, "link_gone", "left")).index == left
    return heard


async def flood() -> dict[str, object]:
    """More changes than the socket holds, while nobody listens."""
    async with AsyncIPRoute() as kernel, LinkWatch() as watch:
        await kernel.link("add", ifname="left", kind="veth", peer={"ifname": "right"})
        left = (await kernel.link_lookup(ifname="left"))[0]
        for step in range(600):
            await kernel.link("set", index=left, mtu=1300 + step % 2)
        await until(watch, "events_lost")
        # The kernel goes on dropping until the socket is empty.
        with contextlib.suppress(TimeoutError):
            while await asyncio.wait_for(anext(watch), 0.3):
                pass
        await kernel.link("del", index=left)
        return {"after": (await until(watch, "link_gone", "left")).kind}


async def forgery() -> dict[str, object]:
    """A message from another process than the kernel must not be heard."""
    async with AsyncIPRoute() as kernel, LinkWatch() as watch:
        body = struct.pack("=BxHiII", 0, 1, 99, 0, 0) + struct.pack("=HH", 9, 3) + b"evil\0\0\0\0"
        forged = struct.pack("=IHHII", 16 + len(body), NEW_LINK, 0, 0, 0) + body
        port = watch._socket.getsockname()[0]  # pyright: ignore[reportPrivateUsage]
        with open_socket() as forger:
            forger.sendto(forged, (port, 0))
        await kernel.link("set", index=1, state="up")
        change = await anext(watch)
        return {"first": change.link.name if change.link else change.kind}


if __name__ == "__main__":
    scene = {"life": life_of_a_link, "flood": flood, "forgery": forgery}[sys.argv[1]]
    print(json.dumps(asyncio.run(asyncio.wait_for(scene(), 100))))
    sys.stdout.flush()
    os._exit(0)  # pyroute2 keeps threads of its own
