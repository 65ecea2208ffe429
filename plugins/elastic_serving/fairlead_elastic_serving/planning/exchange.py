"""What is worth moving of running requests' keys and values after a drop, and in parts of which size.

After a drop each request's keys and values of a layer that its instance gave away belong to the stage that kept it.
They move in chunks of about one pipeline stage's time, and a chunk starts only where no activation waits for the same
link (KunServe, "coordinated exchange"; `group.mover`). Until all of a layer has arrived the request goes on generating
with attention computed where the keys and values still are (remote attention); what would take longer to move than to
attend to from afar stays there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """A running request whose keys and values an instance holds.

    Attributes:
        request: its name.
        instance: which holds them.
        tokens: that are stored.
        remaining: that it may still generate.
    """

    request: str
    instance: str
    tokens: int
    remaining: int


def chunk_tokens(stage_s: float, bytes_per_s: float, layer_token_bytes: float) -> int:
    """Return how many tokens of one layer a link moves in one stage's time, at least 1."""
    return max(1, int(stage_s * bytes_per_s / layer_token_bytes))


def worth_moving(
    stored: Stored, layer_token_bytes: float, query_bytes: float, bytes_per_s: float, latency_s: float
) -> bool:
    """Return whether a layer's keys and values should move, rather than be attended to from afar until the end.

    From afar each token that is generated sends its query there and its result back, one after the other, with the
    link's latency both times; moving takes the bytes once.

    Args:
        stored: the request.
        layer_token_bytes: kappa of one layer.
        query_bytes: of one token's query, and of its result.
        bytes_per_s: of the link.
        latency_s: of the link, one way.
    """
    afar = stored.remaining * 2 * (query_bytes / bytes_per_s + latency_s)
    return stored.tokens * layer_token_bytes / bytes_per_s + latency_s < afar
