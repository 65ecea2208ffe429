"""Bodies of sensing requests: classes, explicit needs, and one clear line for what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.requests.classes import CLASSES, sensing_class
from fairlead_isac.requests.request import read_request, requirements

AREA = {"range_m": 100.0}


def test_the_table_has_the_seven_classes_of_the_standard() -> None:
    assert list(CLASSES) == [1, 2, 3, 4, 5, 6, 7]
    assert [CLASSES[number].refresh_s.loosest for number in CLASSES] == [1, 0.2, 1, 0.1, 600, 60, 0.1]
    assert (CLASSES[7].range_resolution_m, CLASSES[7].velocity_resolution_m_per_s) == (0.375, 0.3)
    assert all(0 < each.false_alarm < 0.1 for each in CLASSES.values() if each.false_alarm is not None)
    with pytest.raises(IsacError, match="class = 8; accepted: 1, 2, 3, 4, 5, 6, 7"):
        sensing_class(8)


def test_a_strict_request_takes_the_tightest_bounds() -> None:
    loose = requirements(read_request({"class": 4, "area": AREA}))
    strict = requirements(read_request({"class": 4, "area": AREA, "strict": True}))
    assert (loose.latency_s, strict.latency_s) == (5, 0.1)
    assert (loose.velocity_m_per_s, strict.velocity_m_per_s) == (15, 0.1)
    assert loose.horizontal_m == strict.horizontal_m == 0.5


def test_a_stage_is_told_deviations() -> None:
    need = requirements(read_request({"class": 2, "area": AREA})).need(range_m=100.0)
    assert need.range_std_m == pytest.approx(2 / 2 / 2**0.5)
    assert need.angle_std_rad == pytest.approx(need.range_std_m / 100)
    assert need.velocity_std_m_per_s == pytest.approx(1 / 1.96)
    assert need.detection_probability == pytest.approx(0.95) and need.refresh_s == 0.2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"class": 9, "area": AREA}, "class = 9"),
        ({"area": AREA}, "class or needs"),
        ({"class": 1}, "area or target: accepted: exactly one"),
        ({"class": 1, "area": AREA, "target": "car"}, "exactly one"),
        ({"class": 1, "area": {"range_m": -5}}, "area.range_m = -5"),
        ({"class": 1, "area": {"range": 5}}, "area.range = 5: unknown; accepted: angle_degrees, range_m"),
        ({"class": 1, "area": AREA, "duration_s": float("nan")}, "duration_s = nan"),
        ({"klass": 1, "area": AREA}, "klass = 1: unknown; accepted: class, strict, needs"),
        ([], "request = []"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(body: Any, said: str) -> None:
    with pytest.raises(IsacError) as caught:
        read_request(body)
    assert said.replace("'9'", "9") in str(caught.value).replace("'9'", "9") and "\n" not in str(caught.value)
