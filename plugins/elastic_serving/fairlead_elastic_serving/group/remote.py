"""Attention that other instances compute: asking for it, and answering those who ask."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import torch

from ..errors import ElasticServingError
from ..links.link import Inbox, Lane, LinkLost, Message, Received
from .attention import Asked, Partial, PieceAttention
from .post import Post


class RemoteAttention:
    """Asks others over the control lane, and answers while it waits, so that no two wait for each other.

    Attributes:
        asked: questions sent.
        later: what else came on the control lane meanwhile; whoever owns the inbox takes it first.

    Args:
        post: sends.
        pieces: those that are here.
        patience_s: for an answer.
        wait: lets time pass, where nobody else does; None: waits for messages.
        rested: hears since when nothing could be done.
        clock: in seconds.
    """

    def __init__(
        self,
        post: Post,
        pieces: PieceAttention,
        patience_s: float,
        wait: Callable[[], None] | None = None,
        rested: Callable[[float], None] = lambda began_s: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.asked = 0
        self.later: deque[Received] = deque()
        self._post, self._pieces, self._patience_s, self._wait = post, pieces, patience_s, wait
        self._answers: dict[int, Message | None] = {}
        self._rested, self._clock = rested, clock

    def ask(self, instance: str, asked: Asked) -> Callable[[], Partial]:
        """Send queries; the result waits for the answer. Raises LinkLost, at either time."""
        self.asked += 1
        number = self.asked
        fields = {"number": number, "layer": asked.layer, "pieces": asked.pieces}
        tensors = {"queries": asked.queries, "starts": asked.starts, "positions": asked.positions}
        self._post.send(instance, Lane.CONTROL, Message("attend", fields, tensors))
        self._answers[number] = None
        return lambda: self._answer(instance, number)

    def serve(self) -> None:
        """Answer what others ask, between two layers."""
        while self._take(0.0):
            pass

    def answer(self, peer: str, message: Message) -> None:
        """Attend for somebody else, and send the result; whoever asked is told if it cannot be."""
        fields, tensors = message.fields, message.tensors
        pieces = tuple((str(name), int(tokens)) for name, tokens in fields["pieces"])
        asked = Asked(int(fields["layer"]), pieces, tensors["queries"], tensors["starts"], tensors["positions"])
        try:
            output, total = self._pieces(asked)
            reply = Message("attended", {"number": fields["number"]}, {"output": output, "total": total})
        except ElasticServingError as error:
            reply = Message("attended", {"number": fields["number"], "error": str(error)})
        with suppress(LinkLost):
            self._post.send(peer, Lane.CONTROL, reply)

    def _answer(self, instance: str, number: int) -> Partial:
        deadline = time.monotonic() + self._patience_s
        while (message := self._answers[number]) is None:
            left = deadline - time.monotonic()
            if left <= 0 or any(item.peer == instance and item.message is None for item in self.later):
                del self._answers[number]
                raise LinkLost(instance, "no answer to queries")
            if self._wait is not None:
                self._wait()
            self._take(0.0 if self._wait else min(left, 0.05))
        del self._answers[number]
        if "error" in message.fields:
            raise LinkLost(instance, str(message.fields["error"]))
        return message.tensors["output"], message.tensors["total"]

    def _take(self, timeout_s: float) -> bool:
        began_s = self._clock() if timeout_s else 0.0
        received = self._inbox.take(timeout_s, most=Lane.CONTROL)
        if timeout_s:
            self._rested(began_s)
        if received is None:
            return False
        message = received.message
        if message is not None and message.kind == "attend":
            self.answer(received.peer, message)
        elif message is not None and message.kind == "attended":
            self.attended(message)
        else:
            self.later.append(received)
        return True

    def attended(self, message: Message) -> None:
        """Take an answer; one that nobody waits for any more changes nothing."""
        number = int(message.fields["number"])
        if number in self._answers:
            self._answers[number] = message

    @property
    def _inbox(self) -> Inbox:
        return self._post.inbox


def attention_bytes(heads: int, head_dim: int) -> int:
    """Return the bytes of one token's query, or of its result, in one layer: float32 and the sum."""
    return heads * (head_dim + 1) * torch.float32.itemsize
