"""Records in the manner of E2SM-KPM, and controls in the manner of E2SM-RC."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.kpi.control import read_control
from fairlead_isac.kpi.records import MEASUREMENTS, Period, indication

FIRST = Period(100.0, 1.0, {"SENS.AirTime": 10.0}, users={"phone": {"DRB.UEThpDl": 5e4}})
SECOND = Period(101.0, 1.0, {"SENS.AirTime": 12.0}, users={"car": {"DRB.UEThpDl": 7e4}}, requests={"r1": {}})


def test_records_have_one_value_for_each_column_and_say_what_was_not_measured() -> None:
    message = indication([FIRST, SECOND], "isac.0", "cell")["indicationMessage"]
    columns = [(each["measType"]["measName"], each["labelInfoList"][0]) for each in message["measInfoList"]]
    assert columns == [
        ("SENS.AirTime", {"noLabel": True}),
        ("DRB.UEThpDl", {"ueID": "car"}),
        ("DRB.UEThpDl", {"ueID": "phone"}),
    ]
    assert [each["measRecord"] for each in message["measData"]] == [
        [{"real": 10.0}, {"noValue": True}, {"real": 5e4}],
        [{"real": 12.0}, {"real": 7e4}, {"noValue": True}],
    ]
    assert message["granulPeriod"] == 1000


def test_nothing_measured_yet_is_no_error() -> None:
    message = indication([], "isac.0", "cell")
    assert message["indicationMessage"]["measData"] == [] and message["indicationHeader"]["colletStartTime"] is None


def test_each_measurement_has_a_meaning() -> None:
    assert all(meaning for _, meaning in MEASUREMENTS.values())


def test_a_control_is_taken_as_it_is() -> None:
    control = read_control({"sensing_share_maximum": 0.3, "stage": "converged", "weights": {"phone": 2.0}})
    assert (control.sensing_share_maximum, control.stage, control.weights) == (0.3, "converged", {"phone": 2.0})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "at least one of sensing_share_minimum"),
        ({"sensing_share_maximum": 1.5}, "sensing_share_maximum = 1.5"),
        ({"sensing_share_minimum": 0.5, "sensing_share_maximum": 0.2}, "at most sensing_share_maximum"),
        ({"stage": "mixed"}, "stage"),
        ({"power": 1.0}, "power = 1.0: unknown; accepted: sensing_share_minimum"),
        ({"weights": {"phone": 0}}, "weights: accepted: numbers above 0"),
    ],
)
def test_a_bad_control_is_said_in_one_line(body: Any, said: str) -> None:
    with pytest.raises(IsacError) as caught:
        read_control(body)
    assert said in str(caught.value) and "\n" not in str(caught.value)
