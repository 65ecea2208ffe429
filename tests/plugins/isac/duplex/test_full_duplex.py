"""Beams and receivers of a full-duplex cell: fast against the semidefinite program, limits, hard inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.duplex.fast import full_duplex
from fairlead_isac.duplex.problem import FullDuplexProblem
from fairlead_isac.duplex.reference import full_duplex_reference
from fairlead_isac.errors import IsacError
from fairlead_isac.physics.arrays import steering
from fairlead_isac.physics.channel import rayleigh


def problem(seed: int, antennas: int = 6, up: float = 10.0, down: float = 10.0, **more) -> FullDuplexProblem:
    """Two users each way, a target at 0.3 rad, strong clutter at two angles, white residual 10 dB above the noise."""
    rng = np.random.default_rng(seed)
    clutter = steering(np.array([-0.7, 0.9]), antennas)
    return FullDuplexProblem(
        channels=rayleigh(2, antennas, rng) * 10**-4.2,
        sinr_down=np.full(2, down),
        noise_watts=1e-12,
        uplink=rayleigh(2, antennas, rng) * 10**-4.2,
        sent_watts=np.full(2, 0.1),
        sinr_up=np.full(2, up),
        sending=steering(0.3, antennas),
        hearing=steering(0.3, antennas),
        gain=1e-12,
        clutter_sending=clutter,
        clutter_hearing=clutter,
        clutter_gains=np.full(2, 1e-10),
        echo_noise_watts=1e-12,
        power_watts=1.0,
        **({"cancellation_db": 110.0} | more),
    )


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
def test_fast_beams_meet_everything_and_come_near_the_semidefinite_program() -> None:
    pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    asked = problem(1, antennas=4, up=100.0)
    fast = full_duplex(asked, turns=2)
    slow = full_duplex_reference(asked, steps=3)
    for found in (fast, slow):
        assert found.fallback is None
        assert np.trace(found.covariance).real <= 1 + 1e-6
        assert (found.sinr_down >= 10 * (1 - 1e-4)).all() and (found.sinr_up >= 100 * (1 - 1e-4)).all()
    assert fast.echo_sinr == pytest.approx(slow.echo_sinr, rel=0.01)


def test_knowing_the_clutter_raises_the_echo() -> None:
    asked = problem(2)
    aware = full_duplex(asked, turns=1)
    unaware = full_duplex(replace(asked, clutter_gains=np.zeros(2)))
    heard = asked.without_echo(unaware.covariance) + asked.users_heard()
    receiver = unaware.echo_receiver
    sinr = asked.echo_watts(unaware.covariance) / (receiver.conj() @ heard @ receiver).real
    assert aware.echo_sinr > 1.2 * sinr


def test_sending_users_limit_the_power_where_the_residual_is_white_and_not_where_it_is_narrow() -> None:
    rng = np.random.default_rng(5)
    narrow = rayleigh(2, 6, rng).T
    narrow /= np.linalg.norm(narrow)
    white = full_duplex(problem(3, up=100.0, down=1.0, cancellation_db=90.0), turns=0)
    few = full_duplex(problem(3, up=100.0, down=1.0, cancellation_db=90.0, residual=narrow), turns=1)
    assert white.fallback is None and few.fallback is None
    assert np.trace(white.covariance).real < 0.5
    assert np.trace(few.covariance).real == pytest.approx(1, rel=2e-3)
    assert few.echo_sinr > 10 * white.echo_sinr


def test_requirements_out_of_reach_are_named() -> None:
    assert "sinr_up[0]" in (full_duplex(problem(4, up=1e9), turns=0).fallback or "")
    assert "sinr_down[1]" in (full_duplex(problem(4, down=1e9), turns=0).fallback or "")
    with pytest.raises(IsacError, match=r"sinr_up has shape \(3,\); accepted: \[2\]"):
        replace(problem(4), sinr_up=np.ones(3))
    with pytest.raises(IsacError, match="channels has values that are not finite"):
        replace(problem(4), channels=np.full((2, 6), np.nan + 0j))
