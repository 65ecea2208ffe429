"""One connection to a broker.

:class:`~fairlead_agent.bus.mqtt.MqttTransport` makes a new session after every loss, because an aiomqtt client never
recovers by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import aiomqtt
import structlog
from aiomqtt.client import ProtocolVersion
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.transport import Will

log = structlog.get_logger(__name__)

#: Return codes from here on mean that the broker refused (MQTT 5, section 2.4; SUBACK 0x80 in 3.1.1).
REFUSED = 0x80
UNSUPPORTED_VERSION = 0x84
#: What brokers allow by default; aiomqtt would only queue more inside paho.
MAX_INFLIGHT = 20

#: Silent: what paho has to say comes as an exception, too, and is logged once.
PAHO_LOG = logging.getLogger("fairlead_agent.bus.paho")
PAHO_LOG.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a client introduces itself."""

    client_id: str
    keepalive_s: int = 15
    timeout_s: float = 5.0
    session_expiry_s: int = 300


class TlsFileError(OSError):
    """A certificate or key file cannot be used."""


class SilentBroker(aiomqtt.MqttError):
    """Something listens, but does not answer a CONNECT."""


class MqttSession(aiomqtt.Client):
    """An aiomqtt client that acknowledges by hand and notices refusals.

    Acknowledging only what has been handled bounds the memory that arriving messages take: the broker never has more
    than its in-flight window under way. ``max_queued_incoming_messages`` would drop messages that were acknowledged.
    """

    def __init__(
        self,
        address: BrokerAddress,
        options: SessionOptions,
        will: Will | None,
        tls: ssl.SSLContext | None,
        *,
        v5: bool,
        clean: bool,
    ) -> None:
        super().__init__(
            address.host,
            address.port,
            username=address.username,
            password=address.password,
            identifier=options.client_id,
            protocol=ProtocolVersion.V5 if v5 else ProtocolVersion.V311,
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain) if will else None,
            clean_session=None if v5 else clean,
            clean_start=clean if v5 else MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=options.keepalive_s,
            timeout=options.timeout_s,
            max_inflight_messages=MAX_INFLIGHT,
            properties=_connect_properties(0 if clean else options.session_expiry_s) if v5 else None,
            tls_context=tls,
            logger=PAHO_LOG,
            # A request is one small packet: waiting to fill it would cost 40 ms.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self.pending_calls_threshold = 10 * MAX_INFLIGHT
        self.refused_publishes = 0
        self._client.manual_ack_set(True)

    def acknowledge(self, message: aiomqtt.Message) -> None:
        """Tell the broker that ``message`` has been handled."""
        self._client.ack(message.mid, message.qos)

    @property
    def alive(self) -> bool:
        """True while the connection stands."""
        return self._connected.done() and not self._disconnected.done()

    async def subscribe_all(self, patterns: list[str]) -> list[str]:
        """Subscribe with QoS 1; return the patterns that the broker refused."""
        if not patterns:
            return []
        codes = await self.subscribe([(pattern, 1) for pattern in patterns])
        return [pattern for pattern, code in zip(patterns, codes, strict=False) if _value(code) >= REFUSED]

    async def enter(self) -> None:
        """Connect. A cancelled caller waits for the connecting thread, so that no socket is left behind."""
        joining = asyncio.create_task(self._join())
        try:
            await asyncio.shield(joining)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await joining
            await self.leave()
            raise

    async def _join(self) -> None:
        try:
            await self.__aenter__()
        except BaseException as error:
            silent = isinstance(error, aiomqtt.MqttError) and self._client.socket() is not None
            self.discard()
            if silent and not isinstance(error, MqttConnectError):
                raise SilentBroker("the broker accepts the connection but does not answer") from None
            raise

    async def leave(self) -> None:
        """Disconnect, also where the connection is lost already."""
        with contextlib.suppress(aiomqtt.MqttError, OSError):
            await self.__aexit__(None, None, None)
        self.discard()

    def discard(self) -> None:
        """Free the socket: after a failed connect aiomqtt leaves it registered with the event loop."""
        with contextlib.suppress(OSError, ValueError):
            self._client.disconnect()
        if self._misc_task is not None:
            self._misc_task.cancel()
        for future in (self._connected, self._disconnected):
            if future.done() and not future.cancelled():
                # asyncio complains about exceptions that nobody has looked at.
                future.exception()

    # aiomqtt notes the file descriptor and watches it a moment later. By then the socket may be closed, and the number
    # belong to another one: it is read when the watch begins.

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._watch_reads, sock)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._watch_writes, sock)

    def _watch_reads(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._guard, self._read_all, sock)
            self._misc_task = self._loop.create_task(self._misc_loop())

    def _watch_writes(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._guard, self._client.loop_write)

    def _read_all(self, sock: Any) -> None:
        self._client.loop_read()
        # TLS hands out whole records: what is decoded already wakes no selector.
        while sock.fileno() >= 0 and hasattr(sock, "pending") and sock.pending() > 0:
            self._client.loop_read()

    def _guard(self, work: Callable[..., object], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if _value(reason_code) >= REFUSED:
            self.refused_publishes += 1
            log.warning("the broker refused a message", reason=str(reason_code), client_id=self.identifier)
        super()._on_publish(client, userdata, mid, reason_code, properties)


def speaks_only_older(error: Exception) -> bool:
    """True when ``error`` says that the broker does not know MQTT 5."""
    return isinstance(error, MqttConnectError) and _value(error.rc) in (1, UNSUPPORTED_VERSION)


def leaves(error: BaseException) -> Iterator[Exception]:
    """The single exceptions of a group, or ``error`` itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in cast(BaseExceptionGroup[BaseException], error).exceptions:
            yield from leaves(part)
    elif isinstance(error, Exception):
        yield error


def tls_context(address: BrokerAddress) -> ssl.SSLContext | None:
    """The TLS settings of ``address``; None for a plain connection.

    Raises:
        TlsFileError: a file is missing or holds something else; with its name, which OpenSSL does not tell.
    """
    if not address.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
    except OSError as error:
        raise TlsFileError(f"ca_file {address.ca_file}: {error}") from None
    if address.cert_file is not None:
        try:
            context.load_cert_chain(address.cert_file, address.key_file)
        except OSError as error:
            raise TlsFileError(f"cert_file {address.cert_file}, key_file {address.key_file}: {error}") from None
    return context


def _connect_properties(session_expiry_s: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = session_expiry_s
    return properties


def _value(code: Any) -> int:
    return int(getattr(code, "value", code) or 0)
