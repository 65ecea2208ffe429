"""The embedded broker's process: amqtt's listener and packets, with routing, sessions and rules of our own.

Repaired against amqtt 0.12, besides what :mod:`fairlead_agent.bus.broker.embedded_handler` repairs: a client whose id
comes a second time is really disconnected, reconnecting clients do not get other clients' retained state, wills carry
their retain flag, and sessions with their queues survive the broker's restart.
"""

# amqtt has no type stubs; its own annotations are used.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import math
import os
import signal
import time
from pathlib import Path

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker, Server
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from fairlead_agent.bus.broker.access import allowed
from fairlead_agent.bus.broker.accounts import Account, load
from fairlead_agent.bus.broker.embedded_client import EmbeddedClient
from fairlead_agent.bus.broker.embedded_connect import read_connect
from fairlead_agent.bus.broker.embedded_handler import EmbeddedHandler
from fairlead_agent.bus.broker.embedded_store import EmbeddedStore, Queued
from fairlead_agent.bus.patterns import TopicError, check_pattern, matches

REFUSED = 0x80
KEEPALIVE_FACTOR = 1.5
SESSION_EXPIRY_S = 86_400.0
CONNECT_S = 10.0
CLOSE_S = 2.0

log = logging.getLogger(__name__)


class DevelopmentBroker(Broker):
    """An amqtt broker on ``127.0.0.1:port`` that knows the accounts in ``directory``."""

    def __init__(self, directory: Path, port: int, site: str) -> None:
        # An empty mapping of plugins: amqtt's defaults let anonymous clients in.
        super().__init__(BrokerConfig(listeners={"default": ListenerConfig(bind=f"127.0.0.1:{port}")}, plugins={}))
        self._directory = directory
        self._site = site
        self._store = EmbeddedStore(directory / "embedded.sqlite")
        self._state = {message.topic: message for message in self._store.retained()}
        self._clients: dict[str, EmbeddedClient] = {}
        self._accounts: dict[str, Account] = {}
        self._serving: set[asyncio.Task[None]] = set()
        for name, pattern, qos in self._store.subscriptions():
            self._restored(name).patterns[pattern] = qos

    def subscribe(self, client: EmbeddedClient, pattern: str, qos: int) -> int:
        """Register a subscription; the granted QoS, or 0x80."""
        try:
            check_pattern(pattern)
        except TopicError:
            return REFUSED
        granted = client.patterns[pattern] = min(qos, 1)
        if client.persistent:
            self._store.subscribe(client.name, pattern, granted)
        return granted

    def unsubscribe(self, client: EmbeddedClient, pattern: str) -> None:
        """Forget a subscription."""
        client.patterns.pop(pattern, None)
        self._store.unsubscribe(client.name, pattern)

    def tell_state(self, client: EmbeddedClient, pattern: str, qos: int) -> None:
        """Queue the retained state that a new subscription matches."""
        for message in list(self._state.values()):
            if matches(pattern, message.topic) and self._may(client, "read", message.topic):
                client.put(Queued(message.topic, message.payload, min(qos, message.qos), retain=True))

    def route(self, author: EmbeddedClient, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Keep a message's state and queue it for all who want it. A denied one is dropped, as MQTT 3.1.1 demands."""
        if not self._may(author, "write", topic):
            log.warning("client %s may not publish to %s", author.name, topic)
            return
        if retain:
            self._retain(Queued(topic, payload, qos, retain=True))
        for client in self._clients.values():
            granted = client.qos_for(topic)
            if granted is not None and self._may(client, "read", topic):
                client.put(Queued(topic, payload, min(granted, qos)))

    async def close(self) -> None:
        """Stop listening, let all clients go without their wills, and keep the store whole."""
        for server in self._servers.values():
            server.instance.close()
        for client in list(self._clients.values()):
            if client.handler is not None:
                client.handler.release()
        if self._serving:
            await asyncio.wait(self._serving, timeout=CLOSE_S)
        self._store.close()

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        try:
            async with asyncio.timeout(CONNECT_S):
                whole = await read_connect(reader, writer)
                return await EmbeddedHandler.init_from_connect(whole, writer, self.plugins_manager)
        except (AMQTTError, MQTTError, NoDataError, OSError, EOFError, ValueError, IndexError) as error:
            with contextlib.suppress(Exception):
                await writer.close()
            raise AMQTTError(f"no connection from port {remote_port}: {error}") from error

    async def _handle_client_session(
        self,
        reader: ReaderAdapter,
        writer: WriterAdapter,
        client_session: Session,
        handler: BrokerProtocolHandler,
        server: Server,
        listener_name: str,
    ) -> None:
        assert isinstance(handler, EmbeddedHandler)
        client_session.keep_alive = math.ceil(client_session.keep_alive * KEEPALIVE_FACTOR)
        known = self._is_known(client_session)
        client, resumed = await self._enter(client_session) if known else (self._stranger(), False)
        client_session.parent = int(resumed)
        handler.bind(self, client)
        handler.attach(client_session, reader, writer)
        await handler.mqtt_connack_authorize(known)
        if not known:
            log.warning("client %s was refused: wrong user name or password", client_session.client_id)
            await writer.close()
            return
        client.handler, client.gone_at_s = handler, None
        serving = asyncio.create_task(self._serve(client, handler, client_session))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        await serving

    async def _serve(self, client: EmbeddedClient, handler: EmbeddedHandler, session: Session) -> None:
        await handler.start()
        delivering = asyncio.create_task(client.deliver(handler))
        graceful = False
        try:
            graceful = await handler.ended
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            if client.handler is handler:
                self._leave(client)
            handler.abort()
            with contextlib.suppress(Exception):
                await handler.stop()
            if not graceful:
                self._speak_will(client, session)

    async def _enter(self, session: Session) -> tuple[EmbeddedClient, bool]:
        name = session.client_id or ""
        former = self._clients.get(name)
        if former is not None and former.handler is not None:
            log.warning("client %s came again; the former connection is closed", name)
            former.handler.handle_read_timeout()
            self._leave(former)
        if session.clean_session or former is None or not former.persistent:
            self._forget(name)
            self._clients[name] = EmbeddedClient(
                name, session.username or "", self._store, persistent=not session.clean_session
            )
            return self._clients[name], False
        former.user = session.username or ""
        return former, True

    def _leave(self, client: EmbeddedClient) -> None:
        client.handler, client.gone_at_s = None, time.monotonic()
        client.rewind()
        if not client.persistent:
            self._forget(client.name)

    def _forget(self, name: str) -> None:
        self._clients.pop(name, None)
        self._store.forget(name)

    def _restored(self, name: str) -> EmbeddedClient:
        if name not in self._clients:
            client = self._clients[name] = EmbeddedClient(name, name, self._store, persistent=True)
            client.gone_at_s = time.monotonic()
            client.restore(self._store.queued(name))
        return self._clients[name]

    def _stranger(self) -> EmbeddedClient:
        return EmbeddedClient("", "", self._store, persistent=False)

    def _speak_will(self, client: EmbeddedClient, session: Session) -> None:
        if session.will_flag and session.will_topic:
            payload = bytes(session.will_message or b"")
            self.route(client, session.will_topic, payload, session.will_qos or 0, bool(session.will_retain))

    def _retain(self, message: Queued) -> None:
        if message.payload:
            self._state[message.topic] = message
        else:
            self._state.pop(message.topic, None)
        self._store.retain(message.topic, message.payload, message.qos)

    def _is_known(self, session: Session) -> bool:
        user, password = session.username or "", session.password or ""
        if user not in self._accounts or not _same(self._accounts[user].password, password):
            # The launcher adds clients while the broker runs.
            self._accounts = load(self._directory / "accounts.json")
        account = self._accounts.get(user)
        # As with mosquitto, a client's id is its user name: nobody can throw another one out.
        session.client_id = user
        return account is not None and _same(account.password, password)

    def _may(self, client: EmbeddedClient, access: str, topic: str) -> bool:
        account = self._accounts.get(client.user)
        control = account is not None and account.control
        return allowed(client.user, control, access, topic, self._site)

    async def _broadcast_loop(self) -> None:
        """Messages are routed by :meth:`route`."""

    async def _session_monitor(self) -> None:
        while True:
            await asyncio.sleep(60)
            limit_s = time.monotonic() - SESSION_EXPIRY_S
            for client in list(self._clients.values()):
                if not client.connected and client.gone_at_s is not None and client.gone_at_s < limit_s:
                    self._forget(client.name)


def serve(directory: Path, port: int, site: str) -> None:
    """Run until SIGTERM or SIGINT."""
    os.umask(0o077)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("transitions").setLevel(logging.ERROR)
    asyncio.run(_run(directory, port, site))


async def _run(directory: Path, port: int, site: str) -> None:
    broker = DevelopmentBroker(directory, port, site)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await broker.start()
    log.warning("embedded broker for development on 127.0.0.1:%d", port)
    await stop.wait()
    await broker.close()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
