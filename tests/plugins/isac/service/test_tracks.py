"""Estimates of one target by two cells, from looks of each: fused where they can be of the same thing."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from fairlead_isac.collaboration.letters import read_letter
from fairlead_isac.errors import IsacError
from fairlead_isac.requests.request import read_request
from fairlead_isac.service.cell import Cell
from fairlead_isac.service.estimate import Estimate
from fairlead_isac.service.sites import settings_at
from fairlead_isac.service.tracks import Tracks, tracks_of
from fairlead_isac.settings import read_settings
from tests.plugins.isac.service.cells import CONFIG, Clock, GridFront

#: A target at x = 120, y = 0 that stands, seen from the south-west and from the north.
SITES = [
    {"name": "south", "x_m": 0, "y_m": -60, "broadside_degrees": 30},
    {"name": "north", "x_m": 120, "y_m": 130, "broadside_degrees": -90},
]
CAR = {"name": "car", "angle_degrees": 0.0, "range_m": 120.0, "rcs_m2": 5.0}


class Sensing:
    """A cell that is asked for the target, and its tracks."""

    def __init__(self, replica: int, clock: Clock, **target: Any) -> None:
        written = read_settings({**CONFIG, "sites": SITES, "targets": [{**CAR, **target}]})
        settings = settings_at(written, replica)
        front = GridFront(settings, seed=replica + 1)
        self.cell, self.clock = Cell(settings, front, None, 1e7, clock=clock, unix=clock), clock
        self.cell.loop.open()
        self.tracks: Tracks = tracks_of(settings, replica, len(front.centres))
        body = {"needs": {"refresh_s": 0.2, "horizontal_m": 4}, "target": "car"}
        self.entry = self.cell.ask(read_request(body))
        assert self.entry.admission.met, self.entry.admission.reasons()

    def estimate(self) -> Estimate:
        """A new one, refined."""
        self.clock.now += 0.2
        self.cell.loop.sense_due()
        return self.tracks.refine(self.entry, self.entry.estimates[-1])


def test_two_views_are_better_than_one_and_where_the_target_is() -> None:
    clock = Clock()
    south, north = (Sensing(replica, clock) for replica in range(2))
    assert south.estimate().fused is None, "nobody else has told of it"
    errors = []
    for _ in range(4):
        north.estimate()
        south.tracks.hear("north", north.tracks.lines(clock.now))
        found = south.estimate().fused
        assert found is not None and found.cells == ("north", "south") and found.unlike == ()
        errors.append((math.hypot(found.x_m - 120, found.y_m), found.position_std_m))
        alone = south.tracks.lines(clock.now)["car"].estimate("south").position_std_m
        assert found.position_std_m < alone
    error, std = np.sqrt(np.mean(np.square(errors), axis=0))
    assert error < 3 * std, "as certain as it says"


def test_what_cannot_be_the_same_thing_or_is_old_is_not_fused() -> None:
    clock = Clock()
    south, other = Sensing(0, clock), Sensing(1, clock, range_m=140.0)
    other.estimate()
    south.tracks.hear("north", other.tracks.lines(clock.now))
    found = south.estimate().fused
    assert found is not None and found.cells == ("south",) and found.unlike == ("north",)
    clock.now += 5.0
    assert other.tracks.lines(clock.now) == {}
    assert south.estimate().fused is None


def test_an_estimate_without_a_covariance_is_refused() -> None:
    zeros = [[0.0] * 4] * 4
    line = {"unix_s": 1.0, "mean": [0.0] * 4, "covariance": zeros}
    letter = {"cell": "north", "replica": 1, "epoch": 1, "period": 0, "estimates": {"car": line}}
    with pytest.raises(IsacError, match="not positive definite"):
        read_letter(json.dumps(letter).encode())
