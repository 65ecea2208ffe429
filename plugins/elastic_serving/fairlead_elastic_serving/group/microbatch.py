"""A microbatch on its way through the segments of a group, and as a message."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..arena.allocation import I32
from ..errors import ElasticServingError
from ..links.link import Message
from ..planning.drop_plan import Group, Stage
from .attention import Older
from .plan import group_from

Pieces = tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Microbatch:
    """What a segment needs to compute its layers of some sequences' chunks.

    Attributes:
        epoch: of the plan under which it goes.
        driver: whose requests these are.
        number: of the driver's microbatches.
        segments: that it passes, in this order.
        place: the segment that is next.
        hidden: [tokens, hidden_size], states before it.
        positions: int32 [tokens].
        starts: int32 [sequences + 1].
        samples: int32 [wanted], tokens whose states the driver wants in the end.
        pieces: of each segment and sequence, the one that is written.
        stored: int32 [segments, sequences], tokens that it holds before the chunk.
        older: of each segment.
    """

    epoch: int
    driver: str
    number: int
    segments: Group
    place: int
    hidden: torch.Tensor
    positions: I32
    starts: I32
    samples: I32
    pieces: Pieces
    stored: I32
    older: tuple[tuple[Older, ...], ...]

    @property
    def segment(self) -> Stage:
        """The segment that is next."""
        return self.segments[self.place]

    @property
    def last(self) -> bool:
        """Whether no other segment follows."""
        return self.place == len(self.segments) - 1

    @property
    def prompts(self) -> bool:
        """Whether there are chunks of prompts in it."""
        return len(self.positions) > len(self.starts) - 1

    def to_message(self) -> Message:
        """Return it as a message ``run``."""
        fields = {
            "epoch": self.epoch,
            "driver": self.driver,
            "number": self.number,
            "segments": [[stage.instance, stage.first, stage.end] for stage in self.segments],
            "place": self.place,
            "pieces": self.pieces,
            "older": [[[o.sequence, o.instance, o.piece, o.tokens] for o in some] for some in self.older],
        }
        arrays = {"positions": self.positions, "starts": self.starts, "samples": self.samples, "stored": self.stored}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return Message("run", fields, {"hidden": self.hidden, **tensors})

    @classmethod
    def from_message(cls, message: Message) -> Microbatch:
        """Read it; raises ElasticServingError where it is none."""
        fields, tensors = message.fields, message.tensors
        try:
            return cls(
                epoch=int(fields["epoch"]),
                driver=str(fields["driver"]),
                number=int(fields["number"]),
                segments=group_from(fields["segments"]),
                place=int(fields["place"]),
                hidden=tensors["hidden"],
                positions=_array(tensors["positions"]),
                starts=_array(tensors["starts"]),
                samples=_array(tensors["samples"]),
                pieces=tuple(tuple(names) for names in fields["pieces"]),
                stored=_array(tensors["stored"]),
                older=tuple(tuple(Older(*item) for item in some) for some in fields["older"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ElasticServingError(f"message {message.kind!r}: {error}") from error


def _array(tensor: torch.Tensor) -> NDArray[np.int32]:
    return tensor.numpy().astype(np.int32, copy=False)
