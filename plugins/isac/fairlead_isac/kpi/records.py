"""Records in the manner of E2SM-KPM (O-RAN, report styles 1 and 4): what a RIC would read of this cell.

Names of measurements are those of 3GPP TS 28.552 where it has them; those of sensing, which it has not, begin with
``SENS.``, those of the scheduler with ``SCHED.``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Name -> (unit, meaning).
MEASUREMENTS: dict[str, tuple[str, str]] = {
    "DRB.UEThpDl": ("kbit/s", "downlink rate of a user"),
    "DRB.UEThpUl": ("kbit/s", "uplink rate of a user"),
    "DRB.RlcSduDelayDl": ("0.1 ms", "delay of a packet to a user"),
    "DRB.PdcpSduVolumeDL": ("Mbit", "what left towards a user in the period, as its queue counts it"),
    "DRB.RlcPacketDropRateDl": ("1e-6", "share of packets to a user that its queue dropped"),
    "RRU.PrbTotDl": ("%", "air time that carries data"),
    "L1M.RS-SINR": ("dB", "signal to interference and noise of a user"),
    "SCHED.RateP5": ("kbit/s", "5th percentile of users' rates"),
    "SCHED.RateP50": ("kbit/s", "median of users' rates"),
    "SCHED.ProportionalFairness": ("kbit/s", "geometric mean of users' rates"),
    "SCHED.SinrViolations": ("", "users below their least rate"),
    "SENS.Violations": ("", "targets with a requirement that is missed"),
    "SENS.SelfInterferenceMargin": ("dB", "noise over what is left of the own signal"),
    "SENS.AirTime": ("%", "air time that senses and carries no data"),
    "SENS.Age": ("ms", "age of the last estimate of a request"),
    "SENS.RangeStd": ("mm", "bound of the range's deviation for a target"),
    "SENS.VelocityStd": ("mm/s", "bound of the velocity's deviation for a target"),
    "SENS.AngleStd": ("mrad", "bound of the angle's deviation for a target"),
    "SENS.IntegratedSnr": ("dB", "of a target's echoes in a frame"),
    "SENS.DetectionProbability": ("%", "for a target"),
    "SENS.FalseAlarm": ("%", "at which a target is detected"),
    "SENS.Class": ("", "of 3GPP TS 22.137, of a request or of the target that it made"),
    "SCHED.DecisionLatencyP99": ("us", "of slot decisions in the period"),
    "SCHED.DeadlineMisses": ("", "decisions and estimates that came too late in the period"),
    "SCHED.Fallbacks": ("", "decisions that are not the optimum that was asked for"),
}


@dataclass(frozen=True, slots=True)
class Period:
    """What was measured in one granularity period; None where nothing was.

    Attributes:
        begin_unix_s, length_s: of the period.
        cell: values of the cell, by measurement.
        users, targets, requests: by name, then measurement.
    """

    begin_unix_s: float
    length_s: float
    cell: Mapping[str, float | None] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    requests: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


def indication(periods: Sequence[Period], sender: str, cell: str) -> dict[str, Any]:
    """One indication message with a record for each period.

    Columns are the measurements (with labels for user, target or request) that occur in any of the periods; a value
    that was not measured in one is ``noValue``, as E2SM-KPM has it. ``colletStartTime`` is spelt as there.
    """
    columns = _columns(periods)
    first = periods[0] if periods else None
    return {
        "indicationHeader": {
            "colletStartTime": first.begin_unix_s if first else None,
            "senderName": sender,
            "senderType": "fairlead-isac",
            "vendorName": "fairlead",
        },
        "indicationMessage": {
            "cellObjID": cell,
            "granulPeriod": round(first.length_s * 1e3) if first else None,
            "measInfoList": [_column(*column) for column in columns],
            "measData": [
                {"startTime": each.begin_unix_s, "measRecord": [_value(each, *column) for column in columns]}
                for each in periods
            ],
        },
    }


_GROUPS = ("users", "targets", "requests")
_LABELS = {"users": "ueID", "targets": "target", "requests": "request"}


def _columns(periods: Sequence[Period]) -> list[tuple[str, str, str]]:
    """(group, whom, measurement) in a stable order."""
    found: dict[tuple[str, str, str], None] = {}
    for each in periods:
        found.update({("cell", "", name): None for name in each.cell})
        for group in _GROUPS:
            for whom, values in getattr(each, group).items():
                found.update({(group, whom, name): None for name in values})
    return sorted(found, key=lambda column: (("cell", *_GROUPS).index(column[0]), column[1], column[2]))


def _column(group: str, whom: str, name: str) -> dict[str, Any]:
    unit, meaning = MEASUREMENTS[name]
    label: dict[str, Any] = {"noLabel": True} if group == "cell" else {_LABELS[group]: whom}
    return {"measType": {"measName": name}, "labelInfoList": [label], "unit": unit, "meaning": meaning}


def _value(period: Period, group: str, whom: str, name: str) -> dict[str, Any]:
    values = period.cell if group == "cell" else getattr(period, group).get(whom, {})
    value = values.get(name)
    return {"noValue": True} if value is None else {"real": value}
