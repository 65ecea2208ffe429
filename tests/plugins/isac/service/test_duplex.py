"""A cell that hears users while it sends: what is set, what is chosen, and what is told of it."""

from __future__ import annotations

import pytest

from fairlead_isac.kpi.control import read_control
from fairlead_isac.requests.request import read_request
from tests.plugins.isac.service.cells import CONFIG, Bench

SENDER = {"name": "camera", "direction": "up", "distance_m": 70, "angle_degrees": 50, "min_rate_bits_per_s": 1e7}
USERS = [*CONFIG["users"], SENDER]


def bench(duplex: str | None, cancellation_db: float = 130.0) -> Bench:
    radio = {"channels": 4, "clutter": 20, "self_interference_cancellation_db": cancellation_db}
    cell = {**CONFIG["cell"], "antennas": 8, "duplex": duplex}
    made = Bench(users=USERS, radio=radio, cell=cell, stage="converged")
    area = {"range_m": 60.0, "angle_degrees": 4, "speed_m_per_s": 30}
    assert made.cell.ask(read_request({"class": 2, "area": area})).admission.met
    made.slots(25)
    return made


def test_a_cell_that_is_declared_full_duplex_uses_joint_beams() -> None:
    full, half = bench("full"), bench("half")
    one, other = full.cell.status(), half.cell.status()
    assert (one["stage"], one["duplex"]) == ("full_duplex", "full")
    assert (other["stage"], other["duplex"]) == ("converged", "half")
    for name in ("clients", "camera"):
        assert one["rate_bits_per_s"][name] > 1.3 * other["rate_bits_per_s"][name]
    assert "joint beams and receivers" in full.cell.decisions(1, "slot")[0]["reason"]
    assert set(one["links"]) == {"clients", "phone"}, "who sends tells of that link"
    names = {each["measType"]["measName"] for each in full.cell.records(1)["indicationMessage"]["measInfoList"]}
    assert {"DRB.UEThpUl", "DRB.UEThpDl"} <= names


def test_what_is_not_declared_follows_the_cancellation_and_controls() -> None:
    assert bench(None).cell.status()["duplex"] == "full"
    deaf = bench(None, cancellation_db=93.0)
    assert deaf.cell.status()["duplex"] == "half"
    deaf.cell.control(read_control({"duplex": "full"}))
    deaf.slots(1)
    assert (deaf.cell.status()["duplex"], deaf.cell.status()["stage"]) == ("full", "full_duplex")


def test_without_users_that_send_nothing_changes() -> None:
    plain = Bench()
    plain.slots(2)
    assert plain.cell.status()["duplex"] == "half"


@pytest.mark.parametrize("field", ["peer", "address"])
def test_who_sends_has_no_link_of_this_node(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: accepted: null for a user that sends"):
        Bench(users=[{**SENDER, field: "gateway" if field == "peer" else "192.0.2.1"}])
