"""The embedded broker's side of one connection: amqtt's packets and reader, with our own delivery.

Repaired against amqtt 0.12: a silent client is cut off after 1.5 keepalives (its read timeout does nothing), messages
under way survive the loss of a connection, and PUBACK is sent after a message is stored and not before.
"""

# amqtt has no type stubs; its own annotations are used.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from amqtt.errors import MQTTError
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.suback import SubackPacket
from amqtt.mqtt.subscribe import SubscribePacket
from amqtt.mqtt.unsuback import UnsubackPacket
from amqtt.mqtt.unsubscribe import UnsubscribePacket

from fairlead_agent.bus.broker.embedded_store import Queued
from fairlead_agent.bus.patterns import TopicError, check_topic

if TYPE_CHECKING:
    from fairlead_agent.bus.broker.embedded_client import EmbeddedClient
    from fairlead_agent.bus.broker.embedded_server import DevelopmentBroker


class EmbeddedHandler(BrokerProtocolHandler):
    """One connection. :meth:`bind` ties it to its broker and client before :meth:`start`."""

    def bind(self, broker: DevelopmentBroker, client: EmbeddedClient) -> None:
        """Say whom it works for."""
        self._broker = broker
        self._bound = client
        #: Set at the end: True after a DISCONNECT, False when the connection broke (the will is due).
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def abort(self) -> None:
        """Drop the connection without a word, also when the peer does not read any more."""
        stream: Any = getattr(self.writer, "_writer", None)
        if stream is not None:
            stream.transport.abort()

    def release(self) -> None:
        """Let the client go: the broker ends."""
        self._end(graceful=True)

    def handle_read_timeout(self) -> None:
        """Nothing came for 1.5 keepalives: the client is taken for dead."""
        self.abort()
        self._end(graceful=False)

    async def handle_disconnect(self, disconnect: DisconnectPacket | None) -> None:
        """The client says good-bye, or (None) the connection broke."""
        self._end(graceful=disconnect is not None)

    async def handle_publish(self, publish_packet: PublishPacket) -> None:
        """A message from the client: it is stored and queued for its readers, then acknowledged."""
        header = publish_packet.variable_header
        if header is None or publish_packet.topic_name is None:
            raise MQTTError("PUBLISH without a topic")
        if publish_packet.qos == 2:
            await super().handle_publish(publish_packet)
            self._take_delivered()
            return
        self._route(publish_packet.topic_name, bytes(publish_packet.data or b""), publish_packet)
        if publish_packet.qos == 1 and header.packet_id is not None:
            await self._send_packet(PubackPacket.build(header.packet_id))

    async def handle_puback(self, puback: PubackPacket) -> None:
        """The client has a message."""
        if puback.variable_header is not None:
            self._bound.acknowledge(puback.variable_header.packet_id)

    async def handle_subscribe(self, subscribe: SubscribePacket) -> None:
        """Register the patterns, acknowledge, then tell the retained state."""
        if subscribe.variable_header is None or subscribe.payload is None:
            raise MQTTError("SUBSCRIBE without a payload")
        wanted = list(subscribe.payload.topics)
        codes = [self._broker.subscribe(self._bound, pattern, qos) for pattern, qos in wanted]
        await self._send_packet(SubackPacket.build(subscribe.variable_header.packet_id, codes))
        for (pattern, _), code in zip(wanted, codes, strict=True):
            if code <= 2:
                self._broker.tell_state(self._bound, pattern, code)

    async def handle_unsubscribe(self, unsubscribe: UnsubscribePacket) -> None:
        """Forget the patterns and acknowledge."""
        if unsubscribe.variable_header is None or unsubscribe.payload is None:
            raise MQTTError("UNSUBSCRIBE without a payload")
        for pattern in unsubscribe.payload.topics:
            self._broker.unsubscribe(self._bound, pattern)
        await self._send_packet(UnsubackPacket.build(unsubscribe.variable_header.packet_id))

    async def send_publish(self, message: Queued, packet_id: int | None, *, again: bool) -> None:
        """Send a message to the client."""
        packet = PublishPacket.build(
            message.topic, message.payload, packet_id, bool(again and message.qos), message.qos, message.retain
        )
        await self._send_packet(packet)

    def _route(self, topic: str, payload: bytes, packet: PublishPacket) -> None:
        try:
            check_topic(topic)
        except TopicError:
            self._end(graceful=False)
            return
        self._broker.route(self._bound, topic, payload, int(packet.qos or 0), bool(packet.retain_flag))

    def _take_delivered(self) -> None:
        queue = self.session.delivered_message_queue if self.session is not None else None
        while queue is not None and not queue.empty():
            message = queue.get_nowait()
            if message.publish_packet is not None:
                self._route(message.topic, bytes(message.data), message.publish_packet)

    def _end(self, *, graceful: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(graceful)
