"""Questions of a slot, random ones, and the times of their answers by our solvers and by CVXPY with Clarabel."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead_isac.errors import IsacError
from fairlead_isac.physics.arrays import steering
from fairlead_isac.physics.channel import rayleigh
from fairlead_isac.solvers import allocate, illuminate
from fairlead_isac.solvers.reference import Solution, allocate_reference, illuminate_reference

Question = tuple[Any, ...]
SUBCARRIERS, SPACING_HZ = 12, 30e3


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of question: how one is drawn, and who answers it."""

    name: str
    draw: Callable[[np.random.Generator], Question]
    decide: Callable[..., Any]
    value: Callable[[Any, Question], float]
    """Of a decision, in the units of the program's objective."""
    programs: dict[str, Callable[..., Solution]]
    promised: bool
    every: int = 1
    """Of so many questions one is asked (large cases)."""


@dataclass(slots=True)
class Times:
    """What one repeat gave: seconds of each decision, gaps, fallbacks, and the programs' seconds and differences."""

    seconds: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    fallbacks: dict[str, int] = field(default_factory=dict)
    programs: dict[str, list[Solution]] = field(default_factory=dict)
    differences: list[float] = field(default_factory=list)


def beams(antennas: int) -> Callable[[np.random.Generator], Question]:
    """Four Rayleigh users at 20 dB who ask for 0 to 20 dB, and a target anywhere in front."""

    def draw(rng: np.random.Generator) -> Question:
        channels = rayleigh(4, antennas, rng)
        towards = steering(float(rng.uniform(-np.pi / 2, np.pi / 2)), antennas)
        return channels, towards, 10 ** rng.uniform(0, 2, 4), 100.0, 1.0

    return draw


def blocks(count: int) -> Callable[[np.random.Generator], Question]:
    """Eight users of unequal loss and weight; an information of 0 to 102 % of the most that the power reaches."""

    def draw(rng: np.random.Generator) -> Question:
        gains = rng.exponential(1.0, (8, count)) * 10 ** rng.uniform(-0.5, 1.5, (8, 1))
        positions = 2 * np.pi * SPACING_HZ * SUBCARRIERS * (np.arange(count) % 100)
        power = float(count)
        most = power * np.ptp(positions) ** 2 / 4
        return gains, rng.uniform(0.5, 2, 8), power, float(rng.uniform(0, 1.02)) * most, positions, np.ones(count)

    return draw


def cases() -> list[Case]:
    """Those with a promise first."""
    illumination: dict[str, Any] = {"decide": illuminate, "value": lambda found, _: found.illumination_watts}
    rate: dict[str, Any] = {"decide": allocate, "value": lambda found, question: float(question[1] @ found.rate_bits)}
    whole = {"semidefinite program": illuminate_reference}
    small = {"program in span{h, a}": lambda *question: illuminate_reference(*question, reduced=True)}
    cone = {"cone program": allocate_reference}
    return [
        Case("16 antennas, 4 users, 1 target", beams(16), programs=whole | small, promised=True, **illumination),
        Case("100 resource blocks, 8 users", blocks(100), programs=cone, promised=True, **rate),
        Case("64 antennas, 4 users, 1 target", beams(64), programs=small, promised=False, every=5, **illumination),
        Case("1,400 units, 8 users", blocks(1400), programs=cone, promised=False, every=10, **rate),
    ]


def measured(case: Case, rng: np.random.Generator, count: int, programs: int) -> Times:
    """Ask ``count`` questions (the programs some of them, in turn), one call a decision, timed from Python."""
    out = Times(programs={name: [] for name in case.programs})
    questions = [case.draw(rng) for _ in range(max(1, count // case.every))]
    for question in questions[:50]:
        case.decide(*question)
    for question in questions:
        began = time.perf_counter()
        found = case.decide(*question)
        out.seconds.append(time.perf_counter() - began)
        _note(out, found)
    for question in questions[:programs]:
        found = case.decide(*question)
        for name, program in case.programs.items():
            _compare(out, name, program, question, case.value(found, question), found.fallback)
    return out


def _note(out: Times, found: Any) -> None:
    if found.fallback is None:
        out.gaps.append(found.gap)
    else:
        kind = found.fallback.split(":")[0].split(" after")[0]
        out.fallbacks[kind] = out.fallbacks.get(kind, 0) + 1


def _compare(
    out: Times, name: str, program: Callable[..., Solution], question: Question, value: float, fallback: str | None
) -> None:
    try:
        solution = program(*question)
    except IsacError:
        return
    out.programs[name].append(solution)
    if fallback is None:
        out.differences.append(1 - value / solution.value)
