"""How two instances come to have a link: each has a door, which is a TCP store that others dial.

Of two instances the one with the greater name dials, so that there is one link between them. It leaves its name in
the other's store; both then make the lanes' groups under a prefix that no other link has. A door dies with its
instance, and nothing but new links to that instance depends on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import PrefixStore, ProcessGroup, ProcessGroupGloo, TCPStore

from .link import Inbox, Lane
from .pace import TokenBucket
from .torch_link import TorchLink


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What links are made with.

    Attributes:
        host: the address of this instance that others reach.
        stall_s: silence after which a link is lost.
        join_s: how long making one may take.
        bytes_per_s: makes links as slow as others (simulated); None: as fast as they are.
        device: of activations, where they go from device to device (NCCL); None: over the host (gloo).
    """

    host: str = "127.0.0.1"
    stall_s: float = 5.0
    join_s: float = 20.0
    bytes_per_s: float | None = None
    device: torch.device | None = None

    def __post_init__(self) -> None:
        if not self.stall_s > 0 or not self.join_s > 0:
            raise ValueError(f"stall_s {self.stall_s}, join_s {self.join_s}: accepted: above 0")


@dataclass(frozen=True, slots=True)
class Dial:
    """Somebody asked for a link."""

    number: int
    peer: str


class Door:
    """Where an instance is dialed."""

    def __init__(self, me: str, settings: LinkSettings) -> None:
        self.me = me
        self.settings = settings
        self._store = TCPStore(settings.host, 0, None, True, timedelta(seconds=settings.join_s), wait_for_workers=False)
        self._numbers = 0
        self._open: set[int] = set()

    @property
    def address(self) -> str:
        """host:port that others dial."""
        return f"{self.settings.host}:{self._store.port}"

    def dials(self) -> list[Dial]:
        """Return who dialed since the last call; never waits.

        Who took a number and died before it left its name holds nobody else up.
        """
        numbers = self._store.add("dials", 0)
        self._open |= set(range(self._numbers + 1, numbers + 1))
        self._numbers = numbers
        told = [number for number in sorted(self._open) if self._store.check([f"dial/{number}"])]
        self._open -= set(told)
        return [Dial(number, json.loads(self._store.get(f"dial/{number}"))) for number in told]

    def accept(self, dial: Dial, inbox: Inbox) -> TorchLink:
        """Make the link that somebody asked for; raises RuntimeError if the other side does not come in time."""
        return _link(self.address, dial.number, dial.peer, 0, inbox, self.settings)


def dial(address: str, peer: str, me: str, inbox: Inbox, settings: LinkSettings) -> TorchLink:
    """Ask for a link at another instance's door and make it.

    Raises:
        RuntimeError: there is no such door, or nobody answers it in time.
        ValueError: an address that is none.
    """
    store = _store(address, settings)
    number = store.add("dials", 1)
    store.set(f"dial/{number}", json.dumps(me))
    return _link(address, number, peer, 1, inbox, settings)


def dials(me: str, peer: str) -> bool:
    """Return whether of two instances this one dials."""
    return me > peer


def _store(address: str, settings: LinkSettings) -> TCPStore:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"address {address!r}: accepted: host:port")
    return TCPStore(host, int(port), None, False, timedelta(seconds=settings.join_s))


def _link(address: str, number: int, peer: str, rank: int, inbox: Inbox, settings: LinkSettings) -> TorchLink:
    # A client of its own: whoever waits in one blocks everybody else who uses it.
    store = _store(address, settings)
    # One for all lanes: each has a thread that wakes a hundred times a second, whatever comes.
    network = ProcessGroupGloo.create_device(hostname=settings.host, lazy_init=False)
    groups = {
        lane: _group(PrefixStore(f"link/{number}/{lane.name}", store), rank, lane, settings, network) for lane in Lane
    }
    bucket = None if settings.bytes_per_s is None else TokenBucket(settings.bytes_per_s)
    devices = {} if settings.device is None else {lane: settings.device for lane in Lane if lane > Lane.CONTROL}
    return TorchLink(peer, rank, groups, inbox, stall_s=settings.stall_s, bucket=bucket, devices=devices)


def _group(store: PrefixStore, rank: int, lane: Lane, settings: LinkSettings, network: Any) -> ProcessGroup:
    if settings.device is not None and lane > Lane.CONTROL:
        from torch.distributed import ProcessGroupNCCL

        return ProcessGroupNCCL(store, rank, 2, timedelta(seconds=settings.join_s))
    options = ProcessGroupGloo._Options()
    options._devices = [network]
    options._timeout = timedelta(seconds=settings.join_s)
    return ProcessGroupGloo(store, rank, 2, options)
