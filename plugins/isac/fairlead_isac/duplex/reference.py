"""Full duplex by semidefinite programs in turn with closed-form receivers: slow, what fast beams are held against.

For given receivers the echo's SINR is a ratio of linear functions of R, which the Charnes-Cooper transform makes a
semidefinite program; its relaxation is tight. Receivers and program in turn never lose (block ascent; the receivers'
step is the same as a linearisation of ``b^H B(R)^-1 b`` from below, successive convex approximation). Needs the extra
``fairlead-isac[reference]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairlead_isac.duplex.fast import full_duplex, heard_by
from fairlead_isac.duplex.problem import FullDuplexBeams, FullDuplexProblem, judge
from fairlead_isac.errors import IsacError, MissingExtra
from fairlead_isac.scenario import ComplexArray


def full_duplex_reference(problem: FullDuplexProblem, steps: int = 6, tolerance: float = 1e-3) -> FullDuplexBeams:
    """Beams and receivers by SDR in turn with MVDR, from the beams on that ignore what is heard.

    Args:
        problem: what is asked for; with users that receive.
        steps: programs at most.
        tolerance: stops where the echo's SINR grows by less than this share.

    Raises:
        MissingExtra: CVXPY or Clarabel is not installed.
        IsacError: the program has no solution: the requirements are infeasible for the receivers reached so far.
    """
    found = full_duplex(problem, turns=0)
    for number in range(steps):
        beams, covariance = _program(problem, found)
        better = judge(problem, beams, covariance, number + 1)
        grown = better.echo_sinr / max(found.echo_sinr, 1e-300) - 1
        if found.fallback is None and (better.fallback is not None or better.echo_sinr < found.echo_sinr):
            break
        found = better
        if number and grown < tolerance:
            break
    return found


def _program(problem: FullDuplexProblem, at: FullDuplexBeams) -> tuple[ComplexArray, ComplexArray]:
    cp = _cvxpy()
    antennas = problem.channels.shape[1]
    # In units of the whole power, so that all values are near one.
    parts = [cp.Variable((antennas, antennas), hermitian=True) for _ in range(len(problem.channels) + 1)]
    scale, sent = cp.Variable(nonneg=True), sum(parts[1:], start=parts[0])
    fixed, matrix = _linear(problem, at.echo_receiver, problem.users_heard(), echo=False)
    unit = fixed + problem.power_watts * float(np.trace(matrix).real) / antennas
    limits: list[Any] = [part >> 0 for part in parts]
    limits += [cp.real(cp.trace(sent)) <= scale]
    limits += [fixed / unit * scale + _inner(cp, matrix * (problem.power_watts / unit), sent) == 1]
    for channel, part, sinr in zip(problem.channels, parts, problem.sinr_down, strict=False):
        own = np.outer(channel, channel.conj()) * (problem.power_watts / problem.noise_watts)
        limits.append((1 + 1 / max(sinr, 1e-9)) * _inner(cp, own, part) - _inner(cp, own, sent) >= scale)
    for index, receiver in enumerate(at.uplink_receivers):
        channel, power = problem.uplink[index], problem.sent_watts[index]
        others = problem.users_heard() - power * np.outer(channel, channel.conj())
        noise, heard = _linear(problem, receiver, others, echo=True)
        wanted = power / problem.sinr_up[index]
        limits.append(noise / wanted * scale + _inner(cp, heard * (problem.power_watts / wanted), sent) <= scale)
    towards = np.outer(problem.sending, problem.sending.conj()) / antennas
    program = cp.Problem(cp.Maximize(_inner(cp, towards, sent)), limits)
    program.solve(solver=cp.CLARABEL)
    if program.status not in ("optimal", "optimal_inaccurate") or scale.value is None or scale.value <= 0:
        raise IsacError(f"full duplex program: {program.status}; accepted: requirements that can be met together")
    return _beams(problem, [part.value * (problem.power_watts / scale.value) for part in parts])


def _beams(problem: FullDuplexProblem, parts: list[ComplexArray]) -> tuple[ComplexArray, ComplexArray]:
    """Rank-one beams with the same useful power, ``T h / sqrt(h^H T h)``; the rest of the covariance stays."""
    beams = np.zeros_like(problem.channels)
    for at, channel in enumerate(problem.channels):
        turned = parts[at] @ channel
        beams[at] = turned / np.sqrt(max((channel.conj() @ turned).real, 1e-300))
    return beams, sum(parts[1:], start=parts[0])


def _linear(
    problem: FullDuplexProblem, receiver: ComplexArray, others: ComplexArray, echo: bool
) -> tuple[float, ComplexArray]:
    """What a receiver hears as ``fixed + tr(D R)``: noise and users, and D complex [N, N] of clutter and residual."""
    noise = problem.echo_noise_watts * float(np.vdot(receiver, receiver).real)
    return noise + float((receiver.conj() @ others @ receiver).real), heard_by(problem, receiver, echo)


def _inner(cp: Any, matrix: ComplexArray, variable: Any) -> Any:
    return cp.real(cp.trace(matrix @ variable))


def _cvxpy() -> Any:
    try:
        import clarabel  # noqa: F401
        import cvxpy
    except ImportError as error:
        raise MissingExtra(f"the reference needs cvxpy and clarabel: fairlead-isac[reference] ({error})") from None
    return cvxpy
