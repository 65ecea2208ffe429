"""Messages as bytes: a head of fixed size that says how long the rest is, and the rest, if the head has no room.

Body: uint32 length of the JSON, the JSON (kind, fields, and each tensor's name, type, shape, place), then the tensors,
each at a multiple of 64 bytes.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ElasticServingError
from .link import Message

HEAD_BYTES = 32768
"""Holds the states of a microbatch of a few tokens: what stands in the head takes one transfer."""
MOST_BYTES = 1 << 32
"""A body longer than that is no message of ours."""
_COUNT = 8
_ALIGNMENT = 64
_TYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16, torch.uint8)
}


def encode(message: Message) -> torch.Tensor:
    """Return a message as uint8 [bytes]; raises ElasticServingError for a tensor of a type that does not travel."""
    entries, at = [], 0
    tensors = {name: _flat(tensor) for name, tensor in message.tensors.items()}
    for name, tensor in tensors.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if kind not in _TYPES:
            raise ElasticServingError(f"tensor {name!r} of {kind}: accepted: {', '.join(_TYPES)}")
        entries.append([name, kind, list(message.tensors[name].shape), at])
        at += _aligned(tensor.nbytes)
    text = json.dumps([message.kind, message.fields, entries], separators=(",", ":")).encode()
    start = _aligned(4 + len(text))
    body = np.zeros(start + at, np.uint8)
    body[:4] = _bytes(len(text), 4)
    body[4 : 4 + len(text)] = np.frombuffer(text, np.uint8)
    for (_, _, _, place), tensor in zip(entries, tensors.values(), strict=True):
        if tensor.nbytes:
            body[start + place : start + place + tensor.nbytes] = tensor.view(torch.uint8).numpy()
    return torch.from_numpy(body)


def decode(body: torch.Tensor) -> Message:
    """Read a message; its tensors are views of ``body``. Raises ElasticServingError where that is none."""
    try:
        length = _number(body[:4])
        kind, fields, entries = json.loads(body[4 : 4 + length].numpy().tobytes())
        start = _aligned(4 + length)
        return Message(kind, fields, {entry[0]: _tensor(body, start, entry) for entry in entries})
    except (ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
        raise ElasticServingError(f"a message of {body.numel()} bytes cannot be read: {error}") from error


def head_of(body: torch.Tensor) -> torch.Tensor:
    """Return the head for a body: its length, and all of it where it fits. uint8 [HEAD_BYTES]."""
    head = np.zeros(HEAD_BYTES, np.uint8)
    head[:_COUNT] = _bytes(body.numel(), _COUNT)
    if fits(body.numel()):
        head[_COUNT : _COUNT + body.numel()] = body.numpy()
    return torch.from_numpy(head)


def body_bytes(head: torch.Tensor) -> int:
    """Return how long the body is; raises ElasticServingError for a length that no message has."""
    number = _number(head[:_COUNT])
    if not 0 <= number <= MOST_BYTES:
        raise ElasticServingError(f"a message of {number} bytes; accepted: up to {MOST_BYTES}")
    return number


def fits(number: int) -> bool:
    """Return whether a body of so many bytes stands in the head."""
    return number <= HEAD_BYTES - _COUNT


def body_in(head: torch.Tensor) -> torch.Tensor:
    """Return the body that stands in a head."""
    return head[_COUNT : _COUNT + body_bytes(head)]


def _tensor(body: torch.Tensor, start: int, entry: list[Any]) -> torch.Tensor:
    _, kind, shape, place = entry
    wanted = prod(shape) * _TYPES[kind].itemsize
    part = body[start + place : start + place + wanted]
    if part.numel() != wanted:
        raise ValueError(f"tensor {entry[0]!r} is cut off")
    return (
        part.clone().view(_TYPES[kind]).reshape(shape)
        if part.data_ptr() % 16
        else part.view(_TYPES[kind]).reshape(shape)
    )


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().cpu().reshape(-1)
    # A single element may have any stride, and then has no bytes to view.
    return flat if flat.is_contiguous() and flat.stride(0) == 1 else flat.clone(memory_format=torch.contiguous_format)


def _aligned(number: int) -> int:
    return -(-number // _ALIGNMENT) * _ALIGNMENT


def _bytes(number: int, count: int) -> NDArray[np.uint8]:
    return np.frombuffer(number.to_bytes(count, "little"), np.uint8)


def _number(part: torch.Tensor) -> int:
    return int.from_bytes(part.numpy().tobytes(), "little")
