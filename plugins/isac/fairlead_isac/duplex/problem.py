"""Sending, hearing an echo and hearing users at the same time: what is asked for, and what beams reach of it.

The cell sends with covariance R. Its receiving antennas hear the target's echo ``g (a^H R a) b b^H``, clutter
``sum_c g_c (a_c^H R a_c) b_c b_c^H``, users that send ``sum_l p_l h_l h_l^H``, noise, and residual self-interference:
``tr(R) / SIC`` at each antenna where it is white, ``M tr(R) / SIC F F^H`` where it comes from few directions. The
receivers of the echo (u) and of the users (w_l) are closed forms for a given R (MVDR). Model: He et al., "Full-duplex
communication for ISAC: joint beamforming and power optimization", IEEE JSAC 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead_isac.duplex.receiving import disturbance, mvdr
from fairlead_isac.errors import IsacError
from fairlead_isac.scenario import ComplexArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FullDuplexProblem:
    """Maximise the echo's SINR while users that receive and users that send keep theirs.

    Args:
        channels: complex [K, N], to users that receive.
        sinr_down: float [K], what they must have, linear.
        noise_watts: at each of them.
        uplink: complex [U, M], from users that send.
        sent_watts: float [U].
        sinr_up: float [U], what they must have, linear.
        sending: a, complex [N]: the target's steering vector.
        hearing: b, complex [M].
        gain: g, two-way power gain.
        clutter_sending: complex [C, N].
        clutter_hearing: complex [C, M].
        clutter_gains: float [C].
        echo_noise_watts: at each receiving antenna.
        power_watts: of the cell.
        cancellation_db: of self-interference; None: none is heard.
        residual: F, complex [M, r] of unit Frobenius norm, or None: white.
    """

    channels: ComplexArray
    sinr_down: FloatArray
    noise_watts: float
    uplink: ComplexArray
    sent_watts: FloatArray
    sinr_up: FloatArray
    sending: ComplexArray
    hearing: ComplexArray
    gain: float
    clutter_sending: ComplexArray
    clutter_hearing: ComplexArray
    clutter_gains: FloatArray
    echo_noise_watts: float
    power_watts: float
    cancellation_db: float | None = None
    residual: ComplexArray | None = None

    def __post_init__(self) -> None:
        antennas, receivers = len(self.sending), len(self.hearing)
        for name, wide in (("channels", antennas), ("uplink", receivers), ("clutter_sending", antennas)):
            _check(name, np.shape(getattr(self, name)), (None, wide))
        _check("sinr_down", np.shape(self.sinr_down), (len(self.channels),))
        _check("sinr_up", np.shape(self.sinr_up), (len(self.uplink),))
        _check("sent_watts", np.shape(self.sent_watts), (len(self.uplink),))
        _check("clutter_hearing", np.shape(self.clutter_hearing), (len(self.clutter_gains), receivers))
        for name in ("channels", "uplink", "sinr_down", "sinr_up", "sent_watts", "clutter_gains"):
            if not np.isfinite(getattr(self, name)).all():
                raise IsacError(f"{name} has values that are not finite; accepted: finite values")

    def without_echo(self, covariance: ComplexArray) -> ComplexArray:
        """Clutter, residual and noise at the receiving antennas, complex [M, M] in W."""
        sent = float(np.trace(covariance).real)
        lit = np.einsum("cn,nm,cm->c", self.clutter_sending.conj(), covariance, self.clutter_sending).real
        quiet = disturbance(len(self.hearing), self.echo_noise_watts, sent, self.cancellation_db, self.residual)
        return quiet + (self.clutter_hearing.T * (self.clutter_gains * lit)) @ self.clutter_hearing.conj()

    def users_heard(self) -> ComplexArray:
        """Users that send, complex [M, M] in W."""
        return (self.uplink.T * self.sent_watts) @ self.uplink.conj()

    def echo_watts(self, covariance: ComplexArray) -> float:
        """Power of the echo at one receiving antenna: ``g a^H R a``."""
        return float(self.gain * (self.sending.conj() @ covariance @ self.sending).real)


@dataclass(frozen=True, slots=True, eq=False)
class FullDuplexBeams:
    """Beams of the cell and receivers for them.

    Args:
        beamformers: complex [K, N] in sqrt(W).
        covariance: R, complex [N, N]; more than the beams' where a stream only illuminates.
        echo_receiver: u, complex [M] with ``u^H b = 1``.
        uplink_receivers: w_l, complex [U, M] with ``w_l^H h_l = 1``.
        echo_sinr: linear.
        sinr_down: float [K].
        sinr_up: float [U].
        steps: how often receivers and beams were improved in turn.
        fallback: which requirement is not met; None: all are.
    """

    beamformers: ComplexArray
    covariance: ComplexArray
    echo_receiver: ComplexArray
    uplink_receivers: ComplexArray
    echo_sinr: float
    sinr_down: FloatArray
    sinr_up: FloatArray
    steps: int
    fallback: str | None = None


def judge(
    problem: FullDuplexProblem, beamformers: ComplexArray, covariance: ComplexArray, steps: int
) -> FullDuplexBeams:
    """Best receivers for given beams, and what both reach together."""
    quiet = problem.without_echo(covariance)
    towards_echo = quiet + problem.users_heard()
    echo = problem.echo_watts(covariance)
    receiver = mvdr(towards_echo, problem.hearing)
    sinr = echo / float((receiver.conj() @ towards_echo @ receiver).real)
    lit = quiet + echo * np.outer(problem.hearing, problem.hearing.conj())
    receivers, upward = _uplink(problem, lit)
    downward = _downlink(problem, beamformers, covariance)
    return FullDuplexBeams(
        beamformers, covariance, receiver, receivers, sinr, downward, upward, steps, _missed(problem, downward, upward)
    )


def _uplink(problem: FullDuplexProblem, lit: ComplexArray) -> tuple[ComplexArray, FloatArray]:
    receivers = np.zeros_like(problem.uplink)
    sinr = np.zeros(len(problem.uplink))
    everything = lit + problem.users_heard()
    for at, (channel, power) in enumerate(zip(problem.uplink, problem.sent_watts, strict=True)):
        others = everything - power * np.outer(channel, channel.conj())
        receivers[at] = mvdr(others, channel)
        sinr[at] = power / (receivers[at].conj() @ others @ receivers[at]).real
    return receivers, sinr


def _downlink(problem: FullDuplexProblem, beamformers: ComplexArray, covariance: ComplexArray) -> FloatArray:
    heard = np.einsum("kn,nm,km->k", problem.channels.conj(), covariance, problem.channels).real
    wanted = np.abs((problem.channels.conj() * beamformers).sum(axis=1)) ** 2
    return wanted / (heard - wanted + problem.noise_watts)


def _missed(problem: FullDuplexProblem, downward: FloatArray, upward: FloatArray) -> str | None:
    lines = []
    for name, have, wanted in (("sinr_down", downward, problem.sinr_down), ("sinr_up", upward, problem.sinr_up)):
        short = have < wanted * (1 - 1e-4)
        lines += [f"{name}[{at}] is {have[at]:.3g}; asked {wanted[at]:.3g}" for at in np.flatnonzero(short)]
    return "infeasible: " + "; ".join(lines) if lines else None


def _check(name: str, shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> None:
    fits = len(shape) == len(wanted) and all(w is None or s == w for s, w in zip(shape, wanted, strict=True))
    if not fits:
        shown = ", ".join("any" if size is None else str(size) for size in wanted)
        raise IsacError(f"{name} has shape {shape}; accepted: [{shown}]")
