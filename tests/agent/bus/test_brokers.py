"""Brokers that we start: rules, choice, restarts, errors."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.bus.broker import process
from fairlead_agent.bus.broker.access import acl_file, allowed
from fairlead_agent.bus.broker.accounts import Accounts, load
from fairlead_agent.bus.broker.base import BrokerError
from fairlead_agent.bus.broker.choose import choose
from fairlead_agent.bus.broker.embedded import EmbeddedBroker
from fairlead_agent.bus.broker.mosquitto import MosquittoBroker, find_mosquitto, password_hash
from fairlead_agent.bus.broker.process import BrokerProcess, free_port
from fairlead_agent.bus.broker.selftest import violations
from fairlead_agent.bus.topics import AUTHORITY, Topics
from tests.agent.bus.support import SITE, AnyBroker, Clients, Collector, eventually, make_broker
from tests.patience import patient

TOPICS = Topics(SITE)


async def test_rules_hold_on_a_running_broker(broker: AnyBroker) -> None:
    probes = broker.address("probe-a"), broker.address("probe-b")
    assert await violations(*probes, SITE, timeout_s=patient(60)) == []


async def test_self_test_finds_a_broker_without_rules(broker: AnyBroker) -> None:
    probes = broker.address("probe-a", control=True), broker.address("probe-b", control=True)
    found = await violations(*probes, SITE, timeout_s=patient(60))
    assert found == [
        "probe-a could publish to fairlead/1/test/desired/selftest",
        "probe-a could publish to fairlead/1/test/node/probe-b/selftest",
        "probe-a could read fairlead/1/test/inbox/probe-b",
    ]


async def test_control_plane_writes_desired_state_and_reads_the_authoritys_inbox(clients: Clients) -> None:
    [control] = await clients.start("plane", control=True)
    [node] = await clients.start("alpha")
    desired, mail = Collector(), Collector()
    node.subscribe(TOPICS.all_desired(), desired)
    control.subscribe(TOPICS.inbox(AUTHORITY), mail)
    await control.publish(TOPICS.desired("w"), b"wish", retain=True)
    await eventually(lambda: desired.payloads == [b"wish"])
    await node.publish(TOPICS.inbox(AUTHORITY), b"request")
    await eventually(lambda: mail.payloads == [b"request"])


async def test_clients_can_be_added_to_a_running_broker(clients: Clients) -> None:
    first = await clients.start("alpha")
    second = await clients.start("beta")
    assert first[0].connected and second[0].connected


async def test_port_and_logins_stay_over_a_restart(broker: AnyBroker) -> None:
    before = broker.address("alpha")
    await broker.stop()
    await broker.start()
    assert broker.address("alpha") == before


async def test_used_port_is_one_clear_error(broker: AnyBroker, tmp_path: Path) -> None:
    second = type(broker)(tmp_path / "second", port=broker.port)
    with pytest.raises(BrokerError, match="in use"):
        await second.start()
    assert second.process.pid is None


async def test_program_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    process = BrokerProcess("thing", tmp_path / "log")
    with pytest.raises(BrokerError, match=r"status 3.*my last words"):
        await process.start(sys.executable, "-c", "print('my last words'); exit(3)", port=free_port())


async def test_a_strangers_port_is_not_taken_for_the_brokers(tmp_path: Path) -> None:
    stranger = await asyncio.start_server(lambda *_: None, "127.0.0.1", free_port())
    port = stranger.sockets[0].getsockname()[1]
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    async with stranger:
        assert process.listens(os.getpid(), port)
        assert not process.listens(os.getpid(), free_port())
        assert not process.listens(child.pid, port)
        child.kill()
        await child.wait()
        assert not process.listens(child.pid, port)


def test_free_ports_are_those_that_the_system_gives_to_nobody() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 10 and all(process.is_free(port) for port in ports)
    assert first <= 20_000 or max(ports) < first


ORPHAN = """
import asyncio, os, pathlib, sys
from fairlead_agent.bus.broker import process
from fairlead_agent.bus.broker.choose import choose

process.READY_S = float(sys.argv[2])

async def main():
    broker = choose(pathlib.Path(sys.argv[1]))
    await broker.start()
    print(broker.process.pid, flush=True)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
async def test_broker_ends_when_its_parent_is_killed(kind: str, tmp_path: Path) -> None:
    make_broker(kind, tmp_path / "skips-when-missing")
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ORPHAN,
        str(tmp_path / "broker"),
        str(process.READY_S),
        env={**os.environ, "FAIRLEAD_BROKER": kind},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await parent.communicate()
    await eventually(lambda: not _alive(int(out)))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_choice_follows_the_variable_and_else_what_is_installed(tmp_path: Path) -> None:
    assert isinstance(choose(tmp_path / "a", environment={"FAIRLEAD_BROKER": "mosquitto"}), MosquittoBroker)
    embedded = choose(tmp_path / "b", environment={"FAIRLEAD_BROKER": "embedded"})
    assert isinstance(embedded, EmbeddedBroker)
    assert "development" in embedded.label
    natural = choose(tmp_path / "c", environment={})
    assert isinstance(natural, MosquittoBroker if find_mosquitto() else EmbeddedBroker)
    with pytest.raises(BrokerError, match="FAIRLEAD_BROKER='rabbit'"):
        choose(tmp_path / "d", environment={"FAIRLEAD_BROKER": "rabbit"})


def test_embedded_passwords_are_made_for_each_run_and_mosquittos_stay(tmp_path: Path) -> None:
    assert EmbeddedBroker(tmp_path / "e").credentials("a") != EmbeddedBroker(tmp_path / "e").credentials("a")
    assert MosquittoBroker(tmp_path / "m").credentials("a") == MosquittoBroker(tmp_path / "m").credentials("a")


@pytest.mark.parametrize("name", ["", "a/b", "+", "a#", "a:b", "a\nb", "%u"])
def test_client_ids_that_would_widen_the_rules_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="are accepted"):
        Accounts(tmp_path / "accounts.json", fresh=True).get(name)


def test_damaged_accounts_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text("[{]")
    with pytest.raises(ValueError, match=r"accounts\.json"):
        load(path)


@given(st.sampled_from(["a", "b"]), st.sampled_from(["read", "write"]))
def test_a_node_writes_only_its_own_state_and_reads_only_its_own_inbox(user: str, access: str) -> None:
    other = "b" if user == "a" else "a"
    assert allowed(user, False, "write", TOPICS.status(user), SITE)
    assert not allowed(user, False, "write", TOPICS.status(other), SITE)
    assert allowed(user, False, "write", TOPICS.inbox(other), SITE)
    assert not allowed(user, False, "read", TOPICS.inbox(other), SITE)
    assert not allowed(user, False, "write", TOPICS.desired("w"), SITE)
    assert not allowed(user, False, access, Topics("elsewhere").status(user), SITE)
    assert not allowed("+", False, "read", TOPICS.inbox("+"), SITE)


def test_acl_file_has_two_patterns_with_the_user() -> None:
    text = acl_file(SITE, ["control-plane"])
    assert "user control-plane\ntopic readwrite fairlead/1/test/#\n" in text
    assert [line for line in text.splitlines() if "%u" in line] == [
        "pattern write fairlead/1/test/node/%u/#",
        "pattern read fairlead/1/test/inbox/%u",
    ]


def test_password_hash_is_deterministic_in_the_salt_and_hides_the_password() -> None:
    one, same, other = (password_hash("secret", salt) for salt in (b"0" * 12, b"0" * 12, b"1" * 12))
    assert one == same != other
    assert one.startswith("$7$101$")
    assert "secret" not in one
