"""Forwarding to real servers that die, lie, are fenced, or come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.memory import MemoryBroker
from fairlead_agent.bus.stream_server import Answer as StreamAnswer
from fairlead_agent.bus.stream_server import StreamServer
from fairlead_agent.messages import StreamRequest
from fairlead_cloud.gateway.answer import InstanceFailed
from fairlead_cloud.gateway.forward import LostMidway, NobodyServes
from tests.cloud.backends import Dying, Held, Receive, Scope, Send, answer, body_of, echo, serving, start
from tests.cloud.gateway.site import Gateway, TestSite, rest
from tests.patience import patient


async def test_the_epoch_goes_with_the_request() -> None:
    site = TestSite()
    async with Gateway(site) as gateway, serving(echo("a", 7)) as address:
        site.put("a", address, epoch=7)
        forwarded = await gateway.ask()
        assert b'["fairlead-epoch", "7"]' in forwarded.first and b'"/path"' in forwarded.first
        assert b'"body": "question"' in forwarded.first
        assert (forwarded.more, forwarded.attempts, gateway.forwarder.in_flight) == (False, 1, 0)


@pytest.mark.parametrize("moment", ["head", "body", "first"])
async def test_a_holder_that_dies_before_anything_was_passed_on(moment: str) -> None:
    site, dying = TestSite(), Dying(1, moment)
    async with Gateway(site) as gateway, serving(dying) as bad, serving(echo("b", 2)) as good:
        site.put("a", bad, replica=0)
        site.put("b", good, replica=1, epoch=2)
        forwarded = await gateway.ask()
        assert b'"name": "b"' in forwarded.first
        assert (dying.asked, forwarded.attempts, forwarded.exchange.target.node) == (1, 2, "b")
        assert gateway.failed == ["chat"] and "test/chat/0 on a" in forwarded.failures[0]


@pytest.mark.parametrize("moment", ["stream", "chunks"])
async def test_what_was_passed_on_is_not_started_over(moment: str) -> None:
    site, dying = TestSite(), Dying(1, moment)
    async with Gateway(site) as gateway, serving(dying) as bad, serving(echo("b", 2)) as good:
        site.put("a", bad, replica=0)
        site.put("b", good, replica=1, epoch=2)
        forwarded = await gateway.ask()
        assert forwarded.more and forwarded.exchange.target.node == "a"
        with pytest.raises(InstanceFailed, match="broke off"):
            await rest(forwarded)
        assert gateway.forwarder.in_flight == 0


async def test_a_server_that_is_away() -> None:
    site = TestSite()
    async with Gateway(site) as gateway, serving(echo("b", 2)) as good:
        site.put("a", "http://127.0.0.1:1", replica=0)
        site.put("b", good, replica=1, epoch=2)
        assert b'"name": "b"' in await gateway.text(repeatable=False)


@pytest.mark.parametrize("moment", ["head", "body"])
async def test_what_may_have_had_an_effect_is_not_done_twice(moment: str) -> None:
    site, dying = TestSite(), Dying(1, moment)
    async with Gateway(site) as gateway, serving(dying) as bad, serving(echo("b", 2)) as good:
        site.put("a", bad, replica=0)
        site.put("b", good, replica=1, epoch=2)
        with pytest.raises(LostMidway, match="test/chat/0 on a"):
            await gateway.ask(repeatable=False)
        assert dying.asked == 1 and gateway.forwarder.in_flight == 0


def refusing(epoch: int, status: int, *headers: tuple[str, str]) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await start(send, epoch, ("content-length", "2"), *headers, status=status)
        await send({"type": "http.response.body", "body": b"{}"})

    return app


@pytest.mark.parametrize(
    "app",
    [
        refusing(9, 409, ("fairlead-refused", "this instance holds epoch 9")),
        refusing(1, 503, ("fairlead-refused", "this instance holds no live lease")),
        refusing(1, 503, ("fairlead-refused", "this instance is draining")),
    ],
    ids=["other epoch", "no lease", "draining"],
)
async def test_a_host_that_refuses_is_passed_over_even_for_what_is_not_repeatable(app: Any) -> None:
    site = TestSite()
    async with Gateway(site) as gateway, serving(app) as bad, serving(echo("b", 2)) as good:
        site.put("a", bad, replica=0)
        site.put("b", good, replica=1, epoch=2)
        assert b'"name": "b"' in await gateway.text(repeatable=False)


async def test_an_answer_that_the_host_cut_is_void() -> None:
    site = TestSite()
    cut = refusing(1, 503, ("fairlead-cut", "the lease ran out"))
    async with Gateway(site) as gateway, serving(cut) as bad, serving(echo("b", 2)) as good:
        site.put("a", bad, replica=0)
        site.put("b", good, replica=1, epoch=2)
        assert b'"name": "b"' in await gateway.text()
        with pytest.raises(LostMidway, match="lease ran out"):
            await gateway.ask(repeatable=False)


async def test_an_application_may_answer_503_itself() -> None:
    site = TestSite()
    async with Gateway(site) as gateway, serving(refusing(1, 503)) as address:
        site.put("a", address)
        assert (await gateway.ask()).exchange.answer.status == 503


async def test_an_answer_for_another_epoch_is_not_passed_on() -> None:
    site = TestSite()
    async with Gateway(site, wait_s=0.3) as gateway, serving(echo("old", 3)) as address:
        site.put("a", address, epoch=4)
        with pytest.raises(NobodyServes, match="answered 200 for epoch 3"):
            await gateway.ask()


async def test_an_instance_whose_epoch_is_not_current_is_not_asked() -> None:
    site, dying = TestSite(), Dying(1, "head")
    async with Gateway(site, wait_s=0.2) as gateway, serving(dying) as address:
        key = site.put("a", address, epoch=1)
        site.grant(key, 2, "b")
        with pytest.raises(NobodyServes, match="no replica is ready"):
            await gateway.ask()
        assert dying.asked == 0


async def test_a_lease_that_is_lost_while_the_holder_works_ends_the_waiting() -> None:
    site, held = TestSite(), Held(1, early=False)
    async with Gateway(site) as gateway, serving(held) as old, serving(echo("b", 2)) as new:
        key = site.put("a", old)
        asking = asyncio.create_task(gateway.ask())
        async with asyncio.timeout(patient(60)):
            await held.asked.wait()
        site.put("b", new, epoch=2, held=False)
        site.grant(key, 2, "b")
        forwarded = await asking
        assert b'"name": "b"' in forwarded.first and "lost its lease at epoch 1" in forwarded.failures[0]
        async with asyncio.timeout(patient(60)):
            await held.left.wait()


async def test_a_stream_is_cut_when_the_lease_is_lost() -> None:
    site, held = TestSite(), Held(1)
    async with Gateway(site) as gateway, serving(held) as address:
        key = site.put("a", address)
        forwarded = await gateway.ask()
        assert forwarded.first == b"data: one\n\n"
        site.grant(key, 2, "b")
        with pytest.raises(InstanceFailed, match="lost its lease at epoch 1"):
            await rest(forwarded)


async def test_what_a_fenced_holder_still_says_is_not_heard() -> None:
    site, held = TestSite(), Held(1)
    async with Gateway(site) as gateway, serving(held) as address:
        key = site.put("a", address)
        forwarded = await gateway.ask()
        # Silently, as when a lease expires: nobody is woken before the holder speaks.
        site.holders[(key.workload, key.replica)] = (2, "b")
        held.release.set()
        with pytest.raises(InstanceFailed, match="lost its lease"):
            await rest(forwarded)


async def test_a_request_waits_for_a_replica_that_is_being_placed_again() -> None:
    site, dying = TestSite(), Dying(1, "head")
    async with Gateway(site) as gateway, serving(dying) as bad, serving(echo("b", 2)) as good:
        key = site.put("a", bad)
        asking = asyncio.create_task(gateway.ask())
        while dying.asked < 2:
            await site.changed(0.05)
        del site.instances[("a", 0)]
        site.put("b", good, epoch=2, held=False)
        site.grant(key, 2, "b")
        assert b'"name": "b"' in (await asking).first


async def test_nobody_serves_says_what_was_tried() -> None:
    site = TestSite()
    async with Gateway(site, wait_s=0.2) as gateway:
        with pytest.raises(NobodyServes, match="no replica is ready"):
            await gateway.ask()
        site.put("a", "http://127.0.0.1:1")
        with pytest.raises(NobodyServes, match=r"test/chat/0 on a \(epoch 1\): http://127.0.0.1:1"):
            await gateway.ask()


async def test_requests_go_to_the_replica_with_the_fewest() -> None:
    site, held = TestSite(), [Held(1, early=False), Held(2, early=False)]
    async with Gateway(site) as gateway, serving(held[0]) as first, serving(held[1]) as second:
        site.put("a", first, replica=0, epoch=1)
        site.put("b", second, replica=1, epoch=2)
        asking = [asyncio.create_task(gateway.ask()) for _ in range(2)]
        async with asyncio.timeout(patient(60)):
            await asyncio.gather(*(one.asked.wait() for one in held))
        assert gateway.forwarder.in_flight == 2
        for one in held:
            one.release.set()
        assert {(await one).exchange.target.node for one in asking} == {"a", "b"}
        assert gateway.forwarder.in_flight == 0


async def test_a_large_answer_is_passed_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead_cloud.gateway.exchange.BUFFER_BYTES", 100_000)
    whole = bytes(range(256)) * 4000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await answer(send, 1, whole, kind="application/octet-stream")

    site = TestSite()
    async with Gateway(site) as gateway, serving(app) as address:
        site.put("a", address)
        forwarded = await gateway.ask()
        assert forwarded.more and len(forwarded.first) < len(whole)
        assert forwarded.first + await rest(forwarded) == whole


async def test_a_client_that_leaves_ends_the_work_at_the_instance() -> None:
    site, held = TestSite(), Held(1, early=False)
    async with Gateway(site) as gateway, serving(held) as address:
        site.put("a", address)
        asking = asyncio.create_task(gateway.ask())
        async with asyncio.timeout(patient(60)):
            await held.asked.wait()
            asking.cancel()
            await held.left.wait()
        assert gateway.forwarder.in_flight == 0


async def test_connections_are_used_again() -> None:
    clients: set[object] = set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clients.add(tuple(scope["client"]))
        await body_of(receive)
        if scope["method"] == "GET":
            await answer(send, 1, b"whole")
        else:
            await start(send, 1, ("content-type", "text/event-stream"))
            await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})
            await send({"type": "http.response.body", "body": b"data: two\n\n"})

    site = TestSite()
    async with Gateway(site) as gateway, serving(app) as address:
        site.put("a", address)
        for _ in range(5):
            assert await gateway.text(method="GET") == b"whole"
            assert (await gateway.text(method="POST")).endswith(b"data: two\n\n")
        assert len(clients) == 1


class Relayed:
    """A node that answers streams over the bus."""

    def __init__(self, broker: MemoryBroker, node: str) -> None:
        self.asked: list[StreamRequest] = []
        self._transport = broker.transport(node)
        numbers = iter(range(1000))
        self._bus = Bus(self._transport, "test", node, 1, clock=lambda: 0.0, new_id=lambda: f"{node}-{next(numbers)}")
        self._server = StreamServer(self._bus, self._answer)
        self.breaks = False

    async def __aenter__(self) -> Relayed:
        await self._transport.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()
        self._bus.close()
        await self._transport.close()

    async def _answer(self, request: StreamRequest) -> StreamAnswer:
        self.asked.append(request)
        return 200, (("fairlead-epoch", str(request.epoch)), ("content-type", "text/event-stream")), self._body()

    async def _body(self) -> Any:
        yield b"data: one\n\n"
        if self.breaks:
            raise ConnectionResetError("the worker was killed")
        yield b"data: two\n\n"


async def test_over_mqtt() -> None:
    broker, site = MemoryBroker(), TestSite()
    async with Gateway(site, broker=broker) as gateway, Relayed(broker, "phone") as phone:
        key = site.put("phone", None, epoch=5)
        assert await gateway.text() == b"data: one\n\ndata: two\n\n"
        (request,) = phone.asked
        assert (request.target, request.epoch, request.path) == (str(key), 5, "/path?q=1")
        phone.breaks = True
        forwarded = await gateway.ask()
        with pytest.raises(InstanceFailed, match="the worker was killed"):
            await rest(forwarded)


async def test_a_direct_replica_goes_before_one_behind_mqtt() -> None:
    broker, site = MemoryBroker(), TestSite()
    async with (
        Gateway(site, broker=broker) as gateway,
        Relayed(broker, "phone") as phone,
        serving(echo("b", 2)) as near,
    ):
        site.put("phone", None, replica=0)
        site.put("b", near, replica=1, epoch=2)
        assert b'"name": "b"' in await gateway.text()
        assert phone.asked == []


async def test_a_body_that_is_too_large_for_mqtt_goes_elsewhere() -> None:
    broker, site = MemoryBroker(), TestSite()
    async with Gateway(site, broker=broker, wait_s=0.3) as gateway, Relayed(broker, "phone"):
        site.put("phone", None)
        with pytest.raises(NobodyServes, match="can be relayed over MQTT"):
            await gateway.ask(body=b"x" * 800_000, repeatable=False)


async def test_a_phone_that_is_cut_off_loses_its_request_with_its_lease() -> None:
    broker, site = MemoryBroker(), TestSite()
    async with Gateway(site, broker=broker) as gateway, serving(echo("b", 2)) as near:
        key = site.put("phone", None)
        asking = asyncio.create_task(gateway.ask())
        while not gateway.forwarder.in_flight:
            await asyncio.sleep(0)
        site.put("b", near, epoch=2, held=False)
        site.grant(key, 2, "b")
        assert b'"name": "b"' in (await asking).first
