"""What the cell hears beside echoes and users while it sends with a covariance: noise, residual, clutter."""

from __future__ import annotations

import numpy as np

from fairlead_isac.duplex.receiving import disturbance
from fairlead_isac.physics.arrays import steering
from fairlead_isac.scenario import ComplexArray
from fairlead_isac.stages.scene import Scene


def heard(scene: Scene, covariance: ComplexArray) -> ComplexArray:
    """Noise, what is left of the own signal and of clutter, complex [M, M] in W.

    Clutter is ``sum_c g_c (a_c^H R a_c) b_c b_c^H``, as of :mod:`fairlead_isac.duplex.problem`.

    Args:
        scene: who hears.
        covariance: R of what is sent, complex [N, N] in W.
    """
    sent = float(np.trace(covariance).real)
    antennas = scene.cell.echo_antennas
    quiet = disturbance(antennas, scene.echo_noise_watts, sent, scene.cancellation_db, scene.residual)
    if not len(scene.clutter_gains):
        return quiet
    towards, back = (steering(scene.clutter_angles, count) for count in (scene.antennas, antennas))
    lit = np.einsum("cn,nm,cm->c", towards.conj(), covariance, towards).real
    return quiet + (back.T * (scene.clutter_gains * lit)) @ back.conj()


def echo_part(scene: Scene, at: int, covariance: ComplexArray, silent: bool = False) -> float:
    """SNR of a target's echo for a W of illumination, as a part of ``scene.snr_per_watt``, which knows no clutter.

    Above 1 in full duplex where less than the budget's power is sent, and less of it is left.

    Args:
        scene: who hears.
        at: the target's index.
        covariance: R of what is sent, complex [N, N] in W.
        silent: nothing but what is known is sent; clutter stays in its own cells then.
    """
    together = scene.budget.duplex == "full"
    clutter = len(scene.clutter_gains) > 0 and not silent
    if not clutter and not (together and scene.cancellation_db is not None):
        return 1.0
    if together:
        around = heard(scene, covariance) if clutter else _quiet(scene, float(np.trace(covariance).real))
        around = around + (scene.uplink.T * scene.sent_watts) @ scene.uplink.conj()
    else:
        around = heard(scene, covariance) - _quiet(scene, float(np.trace(covariance).real))
        around = around + _quiet(scene, scene.budget.power_watts)
    back = steering(np.array([scene.targets[at].angle_rad]), scene.cell.echo_antennas)[0]
    snr = scene.gains[at] * float((back.conj() @ np.linalg.solve(around, back)).real)
    return snr / max(float(scene.snr_per_watt[at]), 1e-300)


def _quiet(scene: Scene, power_watts: float) -> ComplexArray:
    antennas = scene.cell.echo_antennas
    return disturbance(antennas, scene.echo_noise_watts, power_watts, scene.cancellation_db, scene.residual)
