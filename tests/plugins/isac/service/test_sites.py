"""Replicas as cells: the same users and targets from where each array stands."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.service.cell_state import Fading, cell_of, edge_of
from fairlead_isac.service.sites import cell_name, settings_at
from fairlead_isac.settings import read_settings

CONFIG = {
    "sites": [{"name": "south"}, {"name": "north", "x_m": 100, "y_m": 100, "broadside_degrees": -90}],
    "users": [{"name": "near", "distance_m": 100}, {"name": "far", "distance_m": 200, "angle_degrees": 90}],
    "targets": [{"name": "car", "angle_degrees": 0, "range_m": 100, "velocity_m_per_s": 10}],
}


def test_a_site_may_have_a_backhaul_of_its_own() -> None:
    sites = [{"name": "fibre"}, {"name": "radio", "backhaul_bits_per_s": 1e8}]
    written = read_settings({**CONFIG, "sites": sites, "edge": {"backhaul_bits_per_s": 1e10, "bits_per_element": 16}})
    found = [edge_of(settings_at(written, replica)) for replica in (0, 1)]
    assert [edge.backhaul_bits_per_s for edge in found] == [1e10, 1e8]
    assert [edge.bits_per_element for edge in found] == [16, 16]


def test_each_site_sees_users_and_targets_from_where_it_stands() -> None:
    written = read_settings(CONFIG)
    south, north = settings_at(written, 0), settings_at(written, 1)
    assert south.users == written.users and south.targets == written.targets
    assert (south.cell.name, north.cell.name) == ("south", "north")
    near, far = north.users
    assert (near.distance_m, near.angle_degrees, near.loss_db) == (pytest.approx(100), pytest.approx(0), 0)
    # It is behind the array: mirrored to its front, and weaker.
    assert far.distance_m == pytest.approx(100 * 2**0.5)
    assert (far.angle_degrees, far.loss_db) == (pytest.approx(-45), 30)
    (car,) = north.targets
    assert car.range_m == pytest.approx(100) and car.velocity_m_per_s == pytest.approx(0, abs=1e-9)
    assert south.radio.seed != north.radio.seed


def test_a_loss_is_heard_and_a_target_behind_is_not_seen() -> None:
    lossy = {**CONFIG, "users": [{"name": "near", "distance_m": 100, "loss_db": 20}]}
    heard = []
    for config in (CONFIG, lossy):
        settings = read_settings(config)
        fading = Fading(settings.model_copy(update={"users": settings.users[:1]}), np.random.default_rng(1))
        heard.append(np.abs(fading.channels(0.0, [], cell_of(settings)).users[0]) ** 2)
    assert heard[0] == pytest.approx(100 * heard[1])
    away = {**CONFIG, "sites": [{"name": "south", "broadside_degrees": 180}]}
    assert settings_at(read_settings(away), 0).targets == ()


def test_names_without_sites_and_what_is_refused() -> None:
    plain = read_settings({})
    assert [cell_name(plain, replica) for replica in range(2)] == ["cell", "cell-1"]
    assert settings_at(plain, 0) == plain
    with pytest.raises(ValueError, match="sites: 2, and this is replica 2; accepted: one for each replica"):
        settings_at(read_settings(CONFIG), 2)
    with pytest.raises(ValueError, match="sites: 'a' is there twice"):
        read_settings({"sites": [{"name": "a"}, {"name": "a"}]})
    with pytest.raises(ValueError, match="accepted: name, x_m, y_m, broadside_degrees"):
        read_settings({"sites": [{"name": "a", "z_m": 1}]})
