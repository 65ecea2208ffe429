"""What an instance does for others' exchanges: sends parts of pieces and of layers, takes parts in, gives back."""

from __future__ import annotations

from ..errors import ElasticServingError
from ..links.link import Lane, Message
from .fetching import layer_slice
from .instance import Instance


def trim_here(it: Instance, message: Message, *, cut_since: bool) -> None:
    """Give tokens back that a driver looks for here no more; ``cut_since``: pieces were cut after it said so."""
    for name, tokens in message.fields["pieces"]:
        (it.store.trim_all if cut_since else it.store.trim)(str(name), int(tokens))


def send_part(it: Instance, driver: str, message: Message) -> None:
    """Send tokens of a piece to where a driver wants them, or tell it that this cannot be."""
    fields = message.fields
    piece, first, end = str(fields["piece"]), int(fields["first"]), int(fields["end"])
    sent = False
    if piece in it.store and it.store.piece(piece).room >= end:
        part = Message("part", dict(fields) | {"driver": driver}, it.transfers.read(piece, first, end))
        sent = it.post.try_send(str(fields["to"]), Lane.EXCHANGE, part)
    if not sent:
        it.post.try_send(driver, Lane.EXCHANGE, Message("refused", {"piece": piece}))


def take_part(it: Instance, message: Message, *, expected: bool) -> None:
    """Store tokens that came, and tell their driver; those of a group that is no more are not ``expected``."""
    fields = message.fields
    driver, first = str(fields["driver"]), int(fields["first"])
    reply = Message("arrived", {"piece": fields["piece"], "first": first, "gathered": fields["gathered"]})
    try:
        if not expected:
            raise ElasticServingError(f"epoch {fields['epoch']}: its group is no more")
        layers = range(*fields["layers"])
        it.transfers.write(str(fields["gathered"]), driver, layers, int(fields["at"]), message.tensors)
        it.telemetry.moved_tokens += int(fields["end"]) - first
    except ElasticServingError:
        reply = Message("refused", {"piece": fields["piece"]})
    it.post.try_send(driver, Lane.EXCHANGE, reply)


def send_weights(it: Instance, peer: str, message: Message) -> None:
    """Send a slice of a layer, or nothing where it is not here."""
    layer, offset = int(message.fields["layer"]), int(message.fields["offset"])
    content = layer_slice(it.model.loaded, layer, offset, int(message.fields["bytes"]))
    tensors = {} if content is None else {"content": content}
    it.post.try_send(peer, Lane.EXCHANGE, Message("slice", {"layer": layer, "offset": offset}, tensors))
