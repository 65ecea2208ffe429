"""A cell that is asked for sensing: what becomes of rates, links, estimates and a radio that goes and comes back."""

from __future__ import annotations

import pytest

from fairlead_isac.errors import IsacError, NotFound, RadioUnavailable
from fairlead_isac.kpi.control import read_control
from fairlead_isac.requests.request import read_request
from fairlead_isac.service.book import Entry
from tests.plugins.isac.service.cells import Bench

LINK = "edge>link>control-plane"


def ask(bench: Bench, number: int = 2, range_m: float = 150.0, **more: object) -> Entry:
    body = {"class": number, "area": {"range_m": range_m, "angle_degrees": 4, "speed_m_per_s": 30}, **more}
    return bench.cell.ask(read_request(body))


def test_what_is_sensed_is_taken_from_what_is_carried() -> None:
    bench = Bench()
    bench.slots(25)
    before = bench.cell.status()
    far = ask(bench, 3, 480.0, strict=True)
    assert far.admission.met and far.looks.air_share > 0.1, far.admission.reasons()
    bench.slots(25)
    after = bench.cell.status()
    assert after["sensing_share"] == pytest.approx(far.looks.air_share, rel=0.05)
    assert sum(after["rate_bits_per_s"].values()) < 0.95 * sum(before["rate_bits_per_s"].values())
    shrunk = bench.facts.last(LINK, "bandwidth_bits_per_s")
    assert shrunk < 0.95 * before["links"]["clients"]["free_bits_per_s"]
    assert bench.facts.last("edge/instance/isac.0", "sensing_share") == pytest.approx(far.looks.air_share, rel=0.06)
    radio = {name: bench.facts.last("edge/radio-cell", name) for name in ("sensing_share", "bandwidth_bits_per_s")}
    assert radio["sensing_share"] == pytest.approx(far.looks.air_share, rel=0.06)
    assert radio["bandwidth_bits_per_s"] == pytest.approx(sum(after["rate_bits_per_s"].values()), rel=0.06)
    assert bench.facts.last("edge/radio-cell", "channel_hz") == pytest.approx(190.08e6)
    bench.cell.cancel(far.id)
    bench.slots(25)
    assert bench.cell.status()["sensing_share"] == 0
    assert bench.facts.last(LINK, "bandwidth_bits_per_s") > 1.04 * shrunk


def test_converged_looks_carry_data() -> None:
    bench = Bench(stage="converged")
    far = ask(bench, 3, 480.0, strict=True)
    bench.slots(5)
    status = bench.cell.status()
    assert status["stage"] == "converged" and status["looks_share"] == pytest.approx(far.looks.air_share)
    orthogonal = Bench()
    ask(orthogonal, 3, 480.0, strict=True)
    orthogonal.slots(5)
    assert status["sensing_share"] < orthogonal.cell.status()["sensing_share"]


def test_an_estimate_is_where_the_target_is() -> None:
    bench = Bench()
    entry = ask(bench)
    bench.sense(3, step_s=entry.looks.refresh_s)
    assert entry.count == 3 and entry.late == 0
    for estimate in entry.estimates:
        found = estimate.detections[0]
        assert found.range_m == pytest.approx(150.0, abs=1.0)
        assert found.velocity_m_per_s == pytest.approx(8.0, abs=0.5)
        assert found.angle_degrees == pytest.approx(5.0, abs=0.5)
        assert found.range_std_m is not None and found.range_std_m < 0.5
    assert abs(10 ** (entry.admission.integrated_snr_db / 10) / 10 ** (found.snr_db / 10)) == pytest.approx(1, rel=0.3)


def test_one_request_is_not_starved_by_another() -> None:
    bench = Bench()
    often, rarely = ask(bench, 2), ask(bench, 1)
    bench.sense(12, step_s=0.2)
    assert often.count >= 8 and rarely.count >= 2


def test_an_expired_request_frees_its_share_and_ends_its_stream() -> None:
    bench = Bench()
    entry = ask(bench, duration_s=1.0)
    stream = bench.cell.book.follow(entry.id)
    bench.sense(2, step_s=0.2)
    bench.clock.now += 1.0
    bench.slots(1)
    assert (entry.state, entry.reason) == ("expired", "after 1 s")
    assert len(list(stream)) == entry.count == 2
    assert bench.cell.status()["sensing_share"] == 0 and bench.cell.cancel(entry.id).state == "expired"


def test_a_lost_radio_is_said_everywhere_and_comes_back() -> None:
    bench = Bench()
    entry = ask(bench)
    bench.slots(5)
    free = bench.facts.last(LINK, "bandwidth_bits_per_s")
    bench.front.gone = "no answer within 2 s"
    with pytest.raises(RadioUnavailable):
        bench.sense()
    wait = bench.cell.loop.lose("no answer within 2 s")
    bench.slots(1)
    status = bench.cell.status()
    assert (status["radio"]["state"], status["radio"]["reason"]) == ("lost", "no answer within 2 s")
    assert entry.state == "degraded" and entry.estimates[-1].problem == "no answer within 2 s"
    assert bench.facts.last(LINK, "bandwidth_bits_per_s") < free / 1000
    with pytest.raises(RadioUnavailable, match="the radio is lost: no answer within 2 s"):
        ask(bench)
    assert bench.cell.loop.open() > wait, "tries become rarer"
    bench.front.gone = ""
    assert bench.cell.loop.open() == 0.0
    bench.slots(25)
    bench.sense()
    assert entry.state == "admitted" and entry.estimates[-1].detections
    assert bench.facts.last(LINK, "bandwidth_bits_per_s") > free / 2
    assert bench.cell.counters.total("radio_losses") == 1 and any("radio is back" in each for each in bench.warnings)


def test_controls_bind_the_next_decision_and_admission() -> None:
    bench = Bench()
    ask(bench, 3, 480.0, strict=True)
    bench.slots(2)
    share = bench.cell.status()["sensing_share"]
    assert bench.cell.control(read_control({"sensing_share_maximum": share / 2}))["sensing_share_maximum"] == share / 2
    bench.slots(2)
    assert bench.cell.status()["sensing_share"] <= share / 2 * 1.001
    assert not ask(bench, 3, 480.0, strict=True).admission.met
    assert bench.cell.book.get("r1").state == "degraded" and "left for sensing" in bench.cell.book.get("r1").reason
    with pytest.raises(IsacError, match=r"weights\.nobody: no such user; accepted: clients, phone"):
        bench.cell.control(read_control({"weights": {"nobody": 1.0}}))
    bench.cell.control(read_control({"stage": "collaborative"}))
    bench.slots(1)
    assert bench.cell.status()["stage"] == "collaborative"
    bench.cell.control(read_control({"stage": "converged"}))
    bench.slots(1)
    assert bench.cell.status()["stage"] == "converged"


def test_the_log_says_which_layer_decided_what_and_why() -> None:
    bench = Bench(decisions_kept=5)
    ask(bench)
    bench.slots(20)
    lines = bench.cell.decisions(100, None)
    assert {line["layer"] for line in lines} == {"band", "cell", "slot"} and 11 <= len(lines) <= 12
    assert "r1" in bench.cell.decisions(1, "cell")[0]["reason"]
    assert bench.cell.decisions(1, "band")[0]["decided"]["stage"] == "orthogonal"
    with pytest.raises(IsacError, match="layer = 'none'; accepted: band, cell, slot"):
        bench.cell.decisions(1, "none")


def test_records_are_kept_for_each_second() -> None:
    bench = Bench()
    ask(bench)
    bench.slots(45)
    message = bench.cell.records(10)["indicationMessage"]
    assert len(message["measData"]) == 2
    names = {each["measType"]["measName"] for each in message["measInfoList"]}
    assert {"DRB.UEThpDl", "SENS.AirTime", "SENS.Age", "SCHED.DeadlineMisses"} <= names
    latest = {
        (each["measType"]["measName"], next(iter(each["labelInfoList"][0].values()))): value.get("real")
        for each, value in zip(message["measInfoList"], message["measData"][-1]["measRecord"], strict=True)
    }
    low, middle, fair = (latest[(f"SCHED.{name}", True)] for name in ("RateP5", "RateP50", "ProportionalFairness"))
    assert 0 < low <= 1.001 * middle and low <= 1.001 * fair and latest[("SCHED.SinrViolations", True)] == 0
    assert latest[("SENS.Class", "r1")] == 2 and latest[("SENS.FalseAlarm", "r1")] == pytest.approx(5)
    assert latest[("SENS.DetectionProbability", "r1")] > 95


def test_what_is_not_there_is_named() -> None:
    bench = Bench()
    with pytest.raises(NotFound, match="'r9' is not there; known: none yet"):
        bench.cell.cancel("r9")
    with pytest.raises(IsacError, match="target = 'car': no such target; accepted: drone"):
        bench.cell.ask(read_request({"class": 1, "target": "car"}))
    with pytest.raises(IsacError, match=r"area\.angle_degrees = 85: accepted: -80 to 80"):
        bench.cell.ask(read_request({"class": 1, "area": {"range_m": 50, "angle_degrees": 85}}))
    assert bench.cell.ask(read_request({"class": 1, "target": "drone"})).area.range_m == 150.0


def test_the_stage_keeps_to_the_workloads_backhaul_and_server() -> None:
    wide, narrow = (Bench(stage="collaborative", edge={"backhaul_bits_per_s": rate}) for rate in (1e10, 5e7))
    for bench in (wide, narrow):
        bench.slots(3)
    rates = [sum(bench.cell.status()["rate_bits_per_s"].values()) for bench in (wide, narrow)]
    assert rates[1] == pytest.approx(5e7) and rates[0] > 2e8
    assert "the backhaul brings 50 of" in narrow.cell.decisions(1, "slot")[0]["reason"]
    slow = Bench(stage="collaborative", edge={"compute_cycles_per_s": 1e3})
    ask(slow)
    slow.slots(3)
    assert any("of the information" in str(line["fallback"]) for line in slow.cell.decisions(3, "slot"))
