"""The simulated network: deterministic, and faulty in the ways that are asked for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_agent.bus.clock import VirtualClock
from fairlead_agent.bus.network import Faults, SimMessage, SimNetwork

Trace = list[tuple[float, str, str, int]]


def run(seed: int, faults: Faults, messages: int = 60) -> Trace:
    """Three clients that answer each other; what was delivered to whom, and when."""
    clock = VirtualClock()
    trace: Trace = []
    network: SimNetwork[int] = SimNetwork(
        clock,
        random.Random(seed),
        faults,
        observe=lambda name, message: trace.append((clock(), name, message.topic, message.payload)),
    )
    ports = {}

    def answer(name: str, message: SimMessage[int]) -> None:
        if message.payload > 0:
            ports[name].publish(f"t/{name}", message.payload - 1)

    for name in ("a", "b", "c"):
        ports[name] = network.connect(name, lambda message, name=name: answer(name, message))
        ports[name].subscribe("t/+")
    ports["a"].publish("t/a", 3, retain=True)
    for number in range(messages):
        clock.call_at(0.01 * number, lambda number=number: ports["b"].publish("s/b", number))
    clock.call_at(0.2, lambda: network.partition({"a", "b"}))
    clock.call_at(0.4, network.heal)
    clock.run_until(100.0)
    return trace


FAULTY = Faults(0.001, 0.05, loss=0.1, duplicate=0.2, reorder=0.2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_same_seed_same_trace(seed: int) -> None:
    assert run(seed, FAULTY) == run(seed, FAULTY)


def test_other_seed_other_trace() -> None:
    assert run(1, FAULTY) != run(2, FAULTY)


def build(
    faults: Faults | None = None, **options: object
) -> tuple[VirtualClock, SimNetwork[bytes], dict[str, list[bytes]], dict]:
    clock = VirtualClock()
    network: SimNetwork[bytes] = SimNetwork(clock, random.Random(7), faults, **options)
    got: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
    ports = {}
    for name in got:
        ports[name] = network.connect(name, lambda message, name=name: got[name].append(message.payload))
        ports[name].subscribe("x/#")
    return clock, network, got, ports


def test_order_is_kept_per_link_without_reordering() -> None:
    clock, _, got, ports = build(Faults(0.0, 1.0))
    for number in range(50):
        ports["a"].publish("x/n", str(number).encode())
    clock.run_until(10)
    assert got["b"] == [str(number).encode() for number in range(50)]


def test_reordering_reorders_and_loses_nothing() -> None:
    clock, _, got, ports = build(Faults(0.0, 1.0, reorder=0.5))
    for number in range(50):
        ports["a"].publish("x/n", str(number).encode())
    clock.run_until(10)
    assert got["b"] != sorted(got["b"], key=int)
    assert sorted(got["b"], key=int) == [str(number).encode() for number in range(50)]


@pytest.mark.parametrize(("faults", "low", "high"), [(Faults(loss=0.5), 400, 600), (Faults(duplicate=0.5), 1400, 1600)])
def test_loss_and_duplication_happen_as_often_as_asked(faults: Faults, low: int, high: int) -> None:
    clock, _, got, ports = build(faults)
    for _ in range(1000):
        ports["a"].publish("x/n", b"1")
    clock.run_until(1)
    assert low < len(got["b"]) < high


def test_partition_parts_groups_and_heals_with_state_and_mail() -> None:
    clock, network, got, ports = build()
    network.partition({"a"}, {"b", "c"})
    ports["a"].publish("x/mail", b"mail")
    ports["a"].publish("x/state", b"state", retain=True)
    ports["b"].publish("x/b", b"hello c")
    clock.run_until(1)
    assert got["a"] == [b"mail", b"state"]
    assert got["b"] == got["c"] == [b"hello c"]
    network.heal()
    clock.run_until(2)
    assert b"hello c" in got["a"]
    assert {b"mail", b"state"} <= set(got["b"]) & set(got["c"])


def test_without_a_persistent_session_mail_is_lost_and_state_is_not() -> None:
    clock, network, got, ports = build(queue_offline=False)
    network.cut("b")
    ports["a"].publish("x/mail", b"mail")
    ports["a"].publish("x/state", b"state", retain=True)
    clock.run_until(1)
    network.restore("b")
    clock.run_until(2)
    assert got["b"] == [b"state"]


def test_cut_client_speaks_its_will_late_and_its_mail_waits() -> None:
    clock, network, got, ports = build(will_delay_s=10.0)
    ports["b"].will = ("x/will", b"b is gone", True)
    network.cut("b")
    ports["b"].publish("x/late", b"late")
    clock.run_until(9)
    assert got["a"] == []
    clock.run_until(11)
    assert got["a"] == [b"b is gone"]
    network.restore("b")
    clock.run_until(12)
    assert got["a"] == [b"b is gone", b"late"]


def test_crash_at_once_and_second_client_of_the_same_name() -> None:
    clock, network, got, ports = build()
    ports["b"].will = ("x/will", b"gone", False)
    again = network.connect("b", lambda message: None)
    clock.run_until(1)
    assert got["a"] == [b"gone"]
    assert again.connected
    with pytest.raises(ConnectionError):
        ports["b"].publish("x/n", b"1")


def test_closing_speaks_no_will() -> None:
    clock, _, got, ports = build()
    ports["b"].will = ("x/will", b"gone", False)
    ports["b"].close()
    clock.run_until(100)
    assert got["a"] == []


def test_retained_state_comes_with_a_subscription_and_can_be_cleared() -> None:
    clock, network, got, ports = build()
    ports["a"].publish("x/s", b"1", retain=True)
    ports["a"].publish("y/s", b"2", retain=True)
    assert network.retained == {"x/s": b"1", "y/s": b"2"}
    clock.run_until(1)
    ports["b"].subscribe("y/+")
    clock.run_until(2)
    assert got["b"] == [b"1", b"2"]
    ports["a"].publish("y/s", b"", retain=True)
    assert network.retained == {"x/s": b"1"}


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"duplicate": -0.1}, {"delay_min_s": 2.0, "delay_max_s": 1.0}])
def test_impossible_faults_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)


def test_cancelled_events_do_not_run_and_time_never_goes_back() -> None:
    clock = VirtualClock(5.0)
    ran: list[str] = []
    cancel = clock.call_later(1.0, lambda: ran.append("cancelled"))
    clock.call_at(1.0, lambda: ran.append(f"past at {clock()}"))
    cancel()
    assert clock.run_until(10.0) == 1
    assert ran == ["past at 5.0"]
    assert clock() == 10.0
    assert not clock.step()
