"""Links over torch.distributed point to point: a process group of two for each lane, made for this pair alone.

There is no world-wide group, so that nothing waits for a third party. Each side beats on every lane when it has nothing
to send; a lane that is silent for ``stall_s`` seconds, a send that takes longer, and a closed connection all mean that
the link is lost, on every lane. A long message goes in slices, and between slices waits for whatever is more urgent.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta

import torch
from torch.distributed import ProcessGroup, Work

from .frames import HEAD_BYTES, MOST_BYTES, body_bytes, body_in, decode, encode, fits, head_of
from .link import Inbox, Lane, LinkLost, Message, Received
from .pace import TokenBucket

SLICE_BYTES = 1 << 18
#: Messages up to this go from the caller's thread, and so much may be on its way before a lane's own thread looks.
DIRECT_BYTES, UNSEEN_BYTES = SLICE_BYTES, 1 << 21
_BYE = MOST_BYTES.to_bytes(8, "little")


class TorchLink:
    """One side of a pair; threads send and receive, so that nothing here ever waits in the caller's.

    Short messages over an idle lane are handed to gloo by the caller itself, which does not wait either: waking a
    thread for them would cost more than they take. That they have gone is looked at later.

    Args:
        peer: name of the other side.
        rank: 0 or 1: which side this is, in each group.
        groups: of each lane, with two ranks: gloo, or NCCL whose tensors stand on ``devices``.
        inbox: where messages go.
        stall_s: silence after which the link is lost.
        bucket: makes the link slower; shared by all lanes of this direction.
        devices: of each lane's tensors; the host where none is named.
    """

    def __init__(
        self,
        peer: str,
        rank: int,
        groups: Mapping[Lane, ProcessGroup],
        inbox: Inbox,
        *,
        stall_s: float = 5.0,
        bucket: TokenBucket | None = None,
        devices: Mapping[Lane, torch.device] | None = None,
    ) -> None:
        self._peer = peer
        self._other = 1 - rank
        self._groups = dict(groups)
        self._inbox = inbox
        self._stall_s = stall_s
        self._bucket = bucket
        self._devices = dict(devices or {})
        self._queues: dict[Lane, deque[torch.Tensor]] = {lane: deque() for lane in groups}
        self._sending = dict.fromkeys(groups, 0)
        self._direct = dict.fromkeys(groups, False)
        self._unseen: dict[Lane, list[tuple[Work, torch.Tensor]]] = {lane: [] for lane in groups}
        self._changed = threading.Condition()
        self._lost: str | None = None
        self._closing = False
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, lane), name=f"link-{peer}-{lane.name}", daemon=True)
            for lane in groups
            for work in (self._send_lane, self._receive_lane)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def peer(self) -> str:
        """Name of the instance at the other end."""
        return self._peer

    @property
    def lost(self) -> str | None:
        """Why nothing goes over it any more; None while it stands."""
        return self._lost

    def waiting(self, lane: Lane) -> int:
        """Return how many messages of a lane were not sent yet, the one that is on its way included."""
        return len(self._queues[lane]) + self._sending[lane]

    def send(self, lane: Lane, message: Message) -> None:
        """Queue a message; never waits. Raises LinkLost."""
        body = encode(message)
        with self._changed:
            if self._lost is not None or self._closing:
                raise LinkLost(self._peer, self._lost or "closed")
            direct = self._direct[lane] = self._idle(lane) and body.numel() <= DIRECT_BYTES
            if not direct:
                self._queues[lane].append(body)
                self._changed.notify_all()
        if direct:
            self._hand_over(lane, body)

    def close(self) -> None:
        """Send what is queued and end the link; the other side learns of it. Waits for no more than ``stall_s``."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        deadline = time.monotonic() + self._stall_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._lose("closed")

    def _idle(self, lane: Lane) -> bool:
        slowed = self._bucket is not None or bool(self._devices)
        return not (slowed or self._queues[lane] or self._sending[lane] or self._direct[lane])

    def _hand_over(self, lane: Lane, body: torch.Tensor) -> None:
        parts = [head_of(body)] if fits(body.numel()) else [head_of(body), body]
        try:
            unseen = [(self._groups[lane].send([part], self._other, 0), part) for part in parts]
        except RuntimeError as error:
            self._lose(str(error).strip().splitlines()[0][:200])
            raise LinkLost(self._peer, str(error)) from error
        finally:
            self._direct[lane] = False
        with self._changed:
            self._unseen[lane] += unseen
            if self._queues[lane] or sum(part.numel() for _, part in self._unseen[lane]) > UNSEEN_BYTES:
                self._changed.notify_all()

    def _see(self, lane: Lane) -> None:
        """Wait for what was handed over, so that a link that moves nothing is found lost."""
        with self._changed:
            unseen, self._unseen[lane] = self._unseen[lane], []
        for work, _ in unseen:
            self._wait(work)

    def _due(self, lane: Lane) -> bool:
        full = sum(part.numel() for _, part in self._unseen[lane]) > UNSEEN_BYTES
        return bool((self._queues[lane] and not self._direct[lane]) or full or self._closing or self._lost)

    def _guarded(self, work: Callable[[Lane], None], lane: Lane) -> None:
        try:
            work(lane)
        except Exception as error:
            # Whatever went wrong on one lane, the link as a whole can be relied on no more.
            self._lose(str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__)

    def _send_lane(self, lane: Lane) -> None:
        while self._lost is None:
            with self._changed:
                self._changed.wait_for(lambda: self._due(lane), self._stall_s / 4)
                if self._direct[lane]:
                    # Somebody sends at this very moment, so that the lane is not silent.
                    continue
                body = self._queues[lane].popleft() if self._queues[lane] else None
                leaving = body is None and self._closing
                self._sending[lane] = 1
            self._see(lane)
            if leaving:
                self._transmit(lane, torch.frombuffer(bytearray(_BYE.ljust(HEAD_BYTES, b"\0")), dtype=torch.uint8))
                return
            self._transmit(lane, head_of(body) if body is not None else torch.zeros(HEAD_BYTES, dtype=torch.uint8))
            if body is not None and not fits(body.numel()):
                self._transmit_slices(lane, body)
            with self._changed:
                self._sending[lane] = 0
                self._changed.notify_all()

    def _transmit_slices(self, lane: Lane, body: torch.Tensor) -> None:
        for part in body.split(SLICE_BYTES):
            with self._changed:
                # Half of what the other side bears in silence: an exchange may be slow, not lost.
                self._changed.wait_for(lambda: not self._urgent(lane) or self._lost is not None, self._stall_s / 2)
            self._transmit(lane, part)

    def _urgent(self, lane: Lane) -> bool:
        return any(self.waiting(other) for other in self._queues if other < lane)

    def _transmit(self, lane: Lane, part: torch.Tensor) -> None:
        if self._bucket is not None:
            with self._changed:
                pause = self._bucket.take(part.numel(), time.monotonic())
            time.sleep(pause)
        device = self._devices.get(lane)
        self._wait(self._groups[lane].send([part if device is None else part.to(device)], self._other, 0))

    def _receive_lane(self, lane: Lane) -> None:
        while self._lost is None:
            head = self._received(lane, HEAD_BYTES)
            if head[:8].numpy().tobytes() == _BYE:
                with self._changed:
                    ended_here, self._closing = self._closing, True
                    self._changed.notify_all()
                if not ended_here:
                    self._lose("closed by the other side")
                return
            number = body_bytes(head)
            if not number:
                continue
            body = body_in(head) if fits(number) else self._received(lane, number)
            self._inbox.put(Received(self._peer, lane, decode(body)))

    def _received(self, lane: Lane, number: int) -> torch.Tensor:
        """Receive bytes, in the slices in which they are sent."""
        whole = torch.empty(number, dtype=torch.uint8, device=self._devices.get(lane, torch.device("cpu")))
        for part in whole.split(SLICE_BYTES):
            self._wait(self._groups[lane].recv([part], self._other, 0))
        return whole.cpu()

    def _wait(self, work: Work) -> None:
        """Wait for a transfer, for as long as the link may be silent."""
        if work.wait(timedelta(seconds=self._stall_s)) is False:
            raise LinkLost(self._peer, f"nothing moved for {self._stall_s:g} s")
        if self._devices:
            # With NCCL the call above orders streams and returns; whether it is done is asked for.
            deadline = time.monotonic() + self._stall_s
            while not work.is_completed():
                if time.monotonic() > deadline:
                    raise LinkLost(self._peer, f"nothing moved for {self._stall_s:g} s")
                time.sleep(1e-4)

    def _lose(self, reason: str) -> None:
        with self._changed:
            if self._lost is not None:
                return
            self._lost = reason
            for queue in self._queues.values():
                queue.clear()
            self._changed.notify_all()
        self._inbox.put(Received(self._peer, Lane.CONTROL, None, reason))
