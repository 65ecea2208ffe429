from __future__ import annotations

import re

import pytest

from fairlead_bridge.radio.__main__ import main
from fairlead_bridge.radio.check import listen, resolution
from fairlead_bridge.radio.radio import RadioConfiguration, RadioError
from fairlead_bridge.radio.scene import Scene, Target
from fairlead_bridge.radio.simulated import SimulatedRadio

RADIO = RadioConfiguration(28e9, 122.88e6)


def test_the_check_finds_the_simulated_car_and_walker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    said = capsys.readouterr().out
    found = {
        name: (float(m), float(v), float(db))
        for name, m, v, db in re.findall(r"(\w+): ([\d.]+) m, ([+-][\d.]+) m/s, ([\d.]+) dB", said)
    }
    range_m, velocity = resolution(RADIO)
    for name, at_m, at_m_per_s in (("car", 60.0, 14.0), ("walker", 25.0, -6.0)):
        assert found[name][0] == pytest.approx(at_m, abs=1.5 * range_m)
        assert found[name][1] == pytest.approx(at_m_per_s, abs=1.5 * velocity)
        assert found[name][2] > 15


def test_before_nothing_only_the_floor_is_heard() -> None:
    (strongest,) = listen(SimulatedRadio(RADIO, Scene(), seed=2), power_watts=1.0)
    assert strongest.above_floor_db < 15


def test_what_lies_outside_of_the_map_is_named() -> None:
    with pytest.raises(RadioError, match="target far: outside of the map"):
        listen(SimulatedRadio(RADIO), (Target("far", 1e5),))


def test_radios_are_listed_and_what_is_missing_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "SoapySDR" in said
    with pytest.raises(SystemExit):
        main(["--check", "--device", "uhd"])
    assert "accepted: SoapySDR's arguments such as driver=uhd" in capsys.readouterr().err
