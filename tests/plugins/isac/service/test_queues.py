"""What a decision gives a user is what leaves towards it: on a real link between network namespaces."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from fairlead_bridge.shaping import follow
from fairlead_isac.requests.request import read_request
from fairlead_isac.settings import read_settings
from tests.firmware_bridge.wires import RIGHT, a_wire, eventually, flood, tc
from tests.patience import patient
from tests.plugins.isac.service.cells import CONFIG, Bench

USERS = [{**CONFIG["users"][0], "address": RIGHT}, CONFIG["users"][1]]


def test_a_class_of_the_link_follows_the_schedule(tmp_path: Path) -> None:
    shaping = {"link": "left", "directory": str(tmp_path)}
    with a_wire() as wire, wire.left.entered():
        bench = Bench(users=USERS, shaping=shaping)
        bench.slots(20)
        free = followed(bench)
        far = {"class": 3, "area": {"range_m": 480.0, "angle_degrees": 4, "speed_m_per_s": 30}, "strict": True}
        bench.cell.ask(read_request(far))
        bench.slots(60)
        busy = followed(bench)
        assert busy < 0.95 * free
        bench.cell.close()
        assert "htb" not in tc("qdisc", "show")


def test_what_the_queue_measures_is_a_fact_of_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams beyond the user's rate: the queue sends at the rate, holds what it can, and drops the rest."""
    monkeypatch.setattr(follow, "READ_S", 0.2)
    shaping = {"link": "left", "directory": str(tmp_path)}
    far = [{**USERS[0], "distance_m": 1000, "offered_bits_per_s": 0}, USERS[1]]
    with a_wire() as wire, wire.left.entered():
        bench = Bench(users=far, shaping=shaping)
        bench.slots(20)
        rate = followed(bench)
        assert ("edge>link>control-plane", "loss") not in bench.facts.facts, "nothing was measured yet"
        stop, measured = time.monotonic() + patient(60), dict[str, float]()
        while time.monotonic() < stop and not measured.get("throughput_bits_per_s"):
            flood(wire, 0.3)
            measured = dict(bench.cell.traffic().get("clients", {}))
        bench.slots(25)
        told = {name: bench.facts.last("edge>link>control-plane", name) for name in ("loss", "throughput_bits_per_s")}
        record = bench.cell.records(1)["indicationMessage"]
        bench.cell.close()
    assert 0 < measured["throughput_bits_per_s"] < 1.2 * rate and 0 <= measured["loss"] < 1
    assert 0 <= told["loss"] < 1 and told["throughput_bits_per_s"] < 1.2 * rate
    assert "DRB.RlcPacketDropRateDl" in {each["measType"]["measName"] for each in record["measInfoList"]}


def followed(bench: Bench) -> float:
    """The rate of the user's class, once it is near what the cell says."""
    wanted = bench.cell.status()["rate_bits_per_s"]["clients"]

    def near() -> bool:
        rates = bench.cell.status()["shaping"]["rate_bits_per_s"]
        return abs(rates.get("clients", 0.0) - wanted) <= 0.06 * wanted

    eventually(near)
    assert bench.cell.status()["shaping"]["problem"] == ""
    shown = [
        float(number) * {"K": 1e3, "M": 1e6, "G": 1e9}[unit]
        for number, unit in re.findall(r"prio 3 rate ([\d.]+)([KMG])bit", tc("class", "show", "dev", "left"))
    ]
    assert min(abs(rate - wanted) for rate in shown) <= 0.07 * wanted
    return wanted


def test_nothing_is_shaped_unless_asked_for() -> None:
    bench = Bench()
    bench.slots(2)
    assert bench.cell.status()["shaping"] is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"shaping": {"link": "a/b"}}, "shaping.link = 'a/b'"),
        ({"shaping": {"link": "eth0", "speed": 1}}, "shaping.speed = 1: unknown; accepted: link, directory"),
        ({"users": [{"name": "x", "address": "here"}]}, "address = 'here': accepted: an address or a network"),
    ],
)
def test_what_cannot_be_shaped_is_named(config: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        read_settings(config)
