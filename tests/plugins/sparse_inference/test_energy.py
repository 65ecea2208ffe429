"""Joules per token over a fake device's counters: which windows count, to whom, and what is said where none does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fairlead_bridge.clock import Moment
from fairlead_bridge.device_energy import DeviceEnergySensor, EnergyReading
from fairlead_bridge.reading import Missing
from fairlead_sparse_inference.engine import Engine
from fairlead_sparse_inference.engine.energy import WINDOW_S, EnergyAccount
from fairlead_sparse_inference.engine.telemetry import Telemetry
from fairlead_sparse_inference.measurement import Measurement
from fairlead_sparse_inference.metrics import EngineCollector
from fairlead_sparse_inference.top.rates import energy_note, rates
from fairlead_sparse_inference.top.reading import Reading, parse
from tests.firmware_bridge.trees import Device, edge_box, phone

from .conftest import WAIT_S, greedy, run

PACKAGE = "sys/class/powercap/intel-rapl:0"
RANGE_UJ = 262_143_328_850


class Meter:
    """A device whose package has used `joules` at `now_s`: sensors read it from files."""

    def __init__(self, device: Device, start_uj: int = 0) -> None:
        self.device, self._start_uj = device, start_uj
        self.now_s = 100.0
        self.joules = 0.0

    def read(self) -> EnergyReading | Missing:
        self.device.write({"energy_uj": (self._start_uj + round(self.joules * 1e6)) % RANGE_UJ}, under=PACKAGE)
        return DeviceEnergySensor(self.device.roots).read(Moment(self.now_s, 1e9))

    def spend(self, joules: float, seconds: float) -> None:
        self.joules += joules
        self.now_s += seconds


class Ticking:
    """Each look is a tenth of a second and half a joule after the last."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def read(self) -> EnergyReading | Missing:
        self._meter.spend(0.5, 0.1)
        return self._meter.read()


@pytest.fixture
def box(tmp_path: Path) -> Device:
    return edge_box(tmp_path / "edge")


def work(account: EnergyAccount, meter: Meter, told: Telemetry, *, decode: int, prefill: int, idle: bool) -> None:
    """A round of a second that used eight joules, with a quarter of the time for the prompt if there is one."""
    account.begin(told, meter.now_s)
    meter.spend(8.0, 1.0)
    told.count_decode(decode, 0.75 if prefill else 1.0)
    if prefill:
        told.count_prefill(prefill, 0.25)
    account.end(told, meter.now_s, idle=idle)


def test_joules_go_to_prompts_and_answers_by_their_time(box: Device) -> None:
    meter, told = Meter(box), Telemetry(1)
    account = EnergyAccount(meter)
    work(account, meter, told, decode=3, prefill=40, idle=True)
    assert account.joules == pytest.approx({"prefill": 2.0, "decode": 6.0})
    assert account.tokens == {"prefill": 40, "decode": 3}
    assert (account.source, account.reason) == ("rapl", "")


def test_what_the_device_uses_while_the_engine_rests_is_nobodys(box: Device) -> None:
    meter, told = Meter(box), Telemetry(1)
    account = EnergyAccount(meter)
    for _ in range(3):
        work(account, meter, told, decode=2, prefill=0, idle=True)
        meter.spend(500.0, 60.0)
    assert account.joules["decode"] == pytest.approx(24.0)


def test_a_counter_that_wraps_is_counted_on(box: Device) -> None:
    meter, told = Meter(box, start_uj=RANGE_UJ - 12_000_000), Telemetry(1)
    account = EnergyAccount(meter)
    for last in (False, False, True):
        work(account, meter, told, decode=2, prefill=0, idle=last)
    assert account.joules["decode"] == pytest.approx(24.0)
    assert account.tokens["decode"] == 6


def test_counters_are_not_read_for_every_token(box: Device) -> None:
    meter, told = Meter(box), Telemetry(1)
    looks: list[float] = []

    class Counting:
        def read(self) -> EnergyReading | Missing:
            looks.append(meter.now_s)
            return meter.read()

    account = EnergyAccount(Counting())
    for _ in range(1000):
        account.begin(told, meter.now_s)
        meter.spend(0.01, 0.001)
        told.count_decode(1, 0.001)
        account.end(told, meter.now_s, idle=False)
    assert 2 <= len(looks) <= 1 + 1.0 / WINDOW_S


def test_a_window_that_is_not_certain_takes_its_tokens_along(box: Device) -> None:
    meter, told = Meter(box), Telemetry(1)
    account = EnergyAccount(meter)
    work(account, meter, told, decode=2, prefill=0, idle=True)
    account.begin(told, meter.now_s)
    told.count_decode(100, 1.0)
    meter.spend(-100.0, 1.0)
    account.end(told, meter.now_s, idle=True)
    assert "reset" in account.reason
    work(account, meter, told, decode=2, prefill=0, idle=True)
    assert (account.joules["decode"], account.tokens["decode"]) == (pytest.approx(16.0), 4)
    assert account.reason == ""


def test_a_battery_counts_only_while_it_discharges(tmp_path: Path) -> None:
    device, told, now_s = phone(tmp_path / "phone"), Telemetry(1), [0.0]

    class Battery:
        def read(self) -> EnergyReading | Missing:
            return DeviceEnergySensor(device.roots).read(Moment(now_s[0], 1e9))

    account = EnergyAccount(Battery())
    for status in ("Discharging", "Charging"):
        device.write({"sys/class/power_supply/battery/status": status})
        account.begin(told, now_s[0])
        told.count_decode(4, 2.0)
        now_s[0] += 2.0
        account.end(told, now_s[0], idle=True)
    assert account.joules["decode"] == pytest.approx(2 * 0.45 * 3.85)
    assert account.tokens["decode"] == 4
    assert "no battery that discharges" in account.reason


def told_by(engine: Engine) -> Reading:
    """What /metrics says once the engine rests."""
    assert engine.drain(WAIT_S)
    engine.close()
    registry = CollectorRegistry()
    registry.register(EngineCollector(engine))
    return parse(generate_latest(registry).decode(), "edge", 1.0)


def test_an_engine_reports_joules_a_token(make_engine: Callable[..., Engine], box: Device) -> None:
    engine = make_engine(energy=Ticking(Meter(box)))
    run(engine, greedy([0, 5, 6], 9, logit_bias={1: -1e9, 4: -1e9}))
    reading = told_by(engine)
    values = rates(reading, None)
    assert reading.of("energy_tokens", "decode") == 8
    assert reading.of("energy_tokens", "prefill") == 3
    # All half joules between the first look and the last are somebody's.
    assert reading.sum("energy_joules") == pytest.approx(0.5 * round((reading.sum("energy_joules") or 0) / 0.5))
    assert (reading.sum("energy_joules") or 0) >= 0.5
    assert values["joules_per_answer_token"] == pytest.approx((reading.of("energy_joules", "decode") or 0) / 8)
    assert energy_note(reading) == "joules by rapl"
    measured = Measurement().take(engine.telemetry, engine.energy)
    assert measured["energy_j"] == values["joules_per_answer_token"]


def test_a_device_without_counters_says_why(make_engine: Callable[..., Engine], tmp_path: Path) -> None:
    engine = make_engine(energy=DeviceEnergySensor(Device(tmp_path / "bare").roots))
    run(engine, greedy([0, 5, 6], 4))
    reading = told_by(engine)
    assert not {"energy_joules", "energy_tokens", "energy_source"} & reading.samples.keys()
    assert not {"joules_per_answer_token", "joules_per_prompt_token"} & rates(reading, None).keys()
    assert energy_note(reading).startswith("joules are not measured: energy used: no counter in /sys/class/powercap")
    assert "energy_j" not in Measurement().take(engine.telemetry, engine.energy)
