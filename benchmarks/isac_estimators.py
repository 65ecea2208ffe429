"""Estimators of delay, Doppler shift and angle against the Cramér-Rao bound: ``python -m benchmarks.isac_estimators``.

Each trial draws a target anywhere in the unambiguous region, an unknown phase and noise; ``ours`` is the mean squared
error over the bound of that trial, per repeat of many trials. The interval is for all trials together, by resampling
them (95 %). Times are the processor's, of one frame on one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, row
from fairlead_isac.physics import crb
from fairlead_isac.physics.angle_estimator import estimate_angles
from fairlead_isac.physics.cfar import Cfar
from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.echo import Reflector, array_echo, echo
from fairlead_isac.physics.estimators import errors, estimate
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.physics.peaks import peaks
from fairlead_isac.physics.range_doppler import range_doppler_map
from fairlead_isac.physics.waveform import random_grid

PROMISE = "Estimators meet the CRB within 10 % above 25 dB integrated SNR"
LIMIT = 1.10
LEVELS_DB = (10, 15, 20, 25.1, 30, 40)
SLOT = Numerology.new_radio(3.5e9, 1, 10)
WIDE = Numerology.new_radio(3.5e9, 1, 100)
POWERS = ("uniform power", "non-uniform power")
ANTENNAS, SNAPSHOTS = 16, 64

Trial = Callable[[float, np.random.Generator], Sequence[float]]
"""Integrated SNR and a source of chance to squared errors over their bounds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--trials", type=int, default=600, help="per repeat and case")
    options = parse("isac_estimators", __doc__, repeats=5, quick=1, arguments=arguments, more=more)
    trials = 60 if options.quick else options.more.trials
    rows: list[Row] = []
    for power in POWERS:
        rows += against_bound(("delay", "Doppler shift"), power, of_grid(power), trials, options)
    for power in POWERS:
        rows += against_bound(("angle",), power, of_array(power), trials, options)
    pair = "beside a target 10 dB stronger, 2 cells away"
    rows += against_bound(("delay", "Doppler shift"), pair, two_targets, trials, options)
    rows += times(options)
    grid = {"subcarriers": SLOT.subcarriers, "symbols": SLOT.symbols, "antennas": ANTENNAS, "snapshots": SNAPSHOTS}
    options.finish({"trials_per_repeat": trials, **grid}, rows)
    return 0


def against_bound(quantities: tuple[str, ...], case: str, trial: Trial, trials: int, options: Options) -> list[Row]:
    """Rows over the SNR: mean squared error over the bound."""
    rows = []
    for level in LEVELS_DB:
        rng = np.random.default_rng([options.seed, round(10 * level)])
        shape = (options.repeats, trials, len(quantities))
        ratios = np.array([trial(10 ** (level / 10), rng) for _ in range(shape[0] * shape[1])]).reshape(shape)
        for index, quantity in enumerate(quantities):
            rows.append(of_ratios(f"{quantity}, {case}, {level:g} dB", ratios[..., index], level, rng))
    return rows


def of_ratios(case: str, ratios: np.ndarray, level: float, rng: np.random.Generator) -> Row:
    """A row; the promise holds above the threshold region only."""
    every = ratios.ravel()
    means = every[rng.integers(0, len(every), (400, len(every)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    promised = level > crb.MEANINGFUL_DB
    note = f"mean of {len(every)} trials {every.mean():.3f}, 95 % interval {low:.3f} to {high:.3f}"
    return row(
        case,
        "mean squared error over the CRB",
        "ratio",
        ratios.mean(axis=1).tolist(),
        limit=LIMIT if promised else None,
        promise=PROMISE if promised else None,
        note=note if promised else f"{note}; nothing is promised below 25 dB",
    )


def of_grid(power: str) -> Trial:
    """Delay and Doppler shift of one target from one slot of QAM symbols."""

    def trial(integrated: float, rng: np.random.Generator) -> Sequence[float]:
        sent = random_grid(SLOT, 16, rng)
        if power != "uniform power":
            sent *= uneven(rng)
        rho = integrated / np.sum(np.abs(sent) ** 2)
        target = drawn(rng, np.sqrt(rho))
        found = estimate(echo(sent, [target], SLOT, rng, 1.0), sent, SLOT, noise_watts=1.0)
        bound = crb.delay_doppler_covariance(rho * np.abs(sent) ** 2, SLOT).diagonal()
        return np.square(errors(found, target, SLOT)) / bound

    return trial


def uneven(rng: np.random.Generator) -> np.ndarray:
    """Amplitudes of resource blocks and symbols as a scheduler sets them: exponential powers, a third switched off."""
    blocks = rng.exponential(1, SLOT.subcarriers // 12) * (rng.permutation(SLOT.subcarriers // 12) % 3 > 0)
    symbols = rng.uniform(0.2, 2, SLOT.symbols)
    return np.sqrt(np.outer(np.repeat(blocks, 12), symbols))


def two_targets(integrated: float, rng: np.random.Generator) -> Sequence[float]:
    """The weaker of two targets that lie two resolution cells apart, against the bound of both together."""
    sent = random_grid(SLOT, 16, rng)
    rho = integrated / np.sum(np.abs(sent) ** 2)
    weak = drawn(rng, np.sqrt(rho))
    strong = Reflector(
        weak.delay_s + 2 / SLOT.bandwidth_hz,
        weak.doppler_hz + 2 / SLOT.frame_s,
        np.sqrt(10 * rho) * np.exp(2j * np.pi * rng.uniform()),
    )
    found = estimate(echo(sent, [weak, strong], SLOT, rng, 1.0), sent, SLOT, most=2, noise_watts=1.0)
    bound = crb.targets_covariance([weak, strong], np.abs(sent) ** 2, SLOT).diagonal()[:2]
    return np.square(errors(found, weak, SLOT)) / bound


def drawn(rng: np.random.Generator, amplitude: float) -> Reflector:
    """A target anywhere in the unambiguous region."""
    delay, shift = rng.uniform(0, 1 / SLOT.subcarrier_spacing_hz), rng.uniform(-0.5, 0.5) / SLOT.symbol_s
    return Reflector(delay, shift, amplitude * np.exp(2j * np.pi * rng.uniform()))


def of_array(power: str) -> Trial:
    """Angle of one target within 60 degrees: power even over the antennas, or three quarters of it in a beam there."""

    def trial(integrated: float, rng: np.random.Generator) -> Sequence[float]:
        angle = rng.uniform(-np.pi / 3, np.pi / 3)
        sent = gaussian((ANTENNAS, SNAPSHOTS), rng, 1 / ANTENNAS)
        if power != "uniform power":
            beam = np.exp(1j * np.pi * np.sin(angle + 0.03) * np.arange(ANTENNAS)) / np.sqrt(ANTENNAS)
            sent = 0.5 * sent + np.sqrt(0.75) * np.outer(beam, gaussian((SNAPSHOTS,), rng))
        covariance = sent @ sent.conj().T / SNAPSHOTS
        steered = np.exp(1j * np.pi * np.sin(angle) * np.arange(ANTENNAS))
        lit = (steered.conj() @ covariance @ steered).real
        # Gathered by the receiving array over all snapshots.
        reflection = integrated / (lit * SNAPSHOTS * ANTENNAS)
        alpha = np.sqrt(reflection) * np.exp(2j * np.pi * rng.uniform())
        found = estimate_angles(array_echo(sent, angle, alpha, ANTENNAS, rng, 1.0), sent)[0]
        bound = crb.angle_variance(covariance, angle, reflection, 1.0, SNAPSHOTS, ANTENNAS)
        return [(found.angle_rad - angle) ** 2 / bound]

    return trial


def times(options: Options) -> list[Row]:
    """Times of one slot of 100 resource blocks: map, detections, estimate."""
    rng = np.random.default_rng(options.seed)
    sent = random_grid(WIDE, 64, rng)
    targets = [Reflector.at(100, 10, WIDE, 0.3), Reflector.at(250, -20, WIDE, 0.2j)]
    received = echo(sent, targets, WIDE, rng, 0.1)
    power = range_doppler_map(received, sent, WIDE).power
    mean, ordered = Cfar((2, 1), (8, 3), 1e-5), Cfar((2, 1), (8, 3), 1e-5, order=0.75)
    done: list[tuple[str, Callable[[], object]]] = [
        ("range-Doppler map", lambda: range_doppler_map(received, sent, WIDE)),
        ("detections, CA-CFAR", lambda: peaks(power, mean)),
        ("detections, OS-CFAR", lambda: peaks(power, ordered)),
        ("estimate of one target", lambda: estimate(received, sent, WIDE, noise_watts=0.1)),
    ]
    name = f"a slot of 0.5 ms, {WIDE.subcarriers} x {WIDE.symbols}"
    return [row(f"{what}: {name}", "processor time", "ms", timed(call, options.repeats * 10)) for what, call in done]


def timed(call: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of the processor that each call takes on this thread, whatever else runs on the machine."""
    call()
    taken = []
    for _ in range(repeats):
        begun = time.thread_time()
        call()
        taken.append((time.thread_time() - begun) * 1e3)
    return taken


if __name__ == "__main__":
    sys.exit(main())
