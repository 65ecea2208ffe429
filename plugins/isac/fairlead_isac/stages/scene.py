"""What of the measured channels a stage can use, and why it leaves out the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from fairlead_isac.duplex.receiving import echo_snr_per_watt
from fairlead_isac.physics.arrays import steering
from fairlead_isac.scenario import Budget, Cell, Channels, ComplexArray, FloatArray, Target, User


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The usable part of one decision's input; all arrays are finite.

    Args:
        cell: who sends.
        budget: what may be used.
        users: the K users that receive.
        channels: complex [K, N] or [K, RB, N].
        noise_watts: at a user's receiver, whole band.
        targets: the T targets.
        steering: complex [T, N], the targets' steering vectors.
        snr_per_watt: float [T], SNR of an echo per W of illumination, all receiving antennas combined.
        senders: the U users that send.
        uplink: complex [U, M].
        sent_watts: float [U].
        cancellation_db: of self-interference; None: it is not heard.
        residual: complex [M, r] or None: directions of the residual.
        echo_noise_watts: at one receiving antenna.
        gains: float [T], two-way power gains.
        clutter_angles: float [C] in rad.
        clutter_gains: float [C], two-way power gains.
        left_out: one line for each user and target that cannot be served.
    """

    cell: Cell
    budget: Budget
    users: tuple[User, ...]
    channels: ComplexArray
    noise_watts: float
    targets: tuple[Target, ...]
    steering: ComplexArray
    snr_per_watt: FloatArray
    senders: tuple[User, ...]
    uplink: ComplexArray
    sent_watts: FloatArray
    cancellation_db: float | None
    residual: ComplexArray | None
    echo_noise_watts: float
    gains: FloatArray
    clutter_angles: FloatArray
    clutter_gains: FloatArray
    left_out: tuple[str, ...]

    @property
    def antennas(self) -> int:
        """Sending antennas."""
        return self.cell.antennas

    @property
    def selective(self) -> bool:
        """Channels differ over the band."""
        return self.channels.ndim == 3

    @property
    def downlink_fraction(self) -> float:
        """Share of time in which the cell sends."""
        if self.budget.duplex == "full" or not self.senders:
            return 1.0
        return 1.0 - self.budget.uplink_fraction

    @property
    def resource_elements(self) -> int:
        """Of a frame."""
        return self.cell.numerology.subcarriers * self.cell.numerology.symbols


def look(cell: Cell, users: Iterable[User], targets: Iterable[Target], channels: Channels, budget: Budget) -> Scene:
    """Take what is usable: finite and not zero, of users and targets that are being served."""
    lost: list[str] = []
    down = [user for user in users if user.direction == "down"]
    up = [user for user in users if user.direction == "up"]
    fits = channels.antennas == cell.antennas
    rows = [_row(user, channels.user_names, channels.users, fits, lost) for user in down]
    heard = channels.uplink if channels.uplink is not None else np.zeros((0, cell.echo_antennas), np.complex128)
    wide = heard.shape[-1] == cell.echo_antennas
    sent = [_row(user, channels.uplink_names, heard, wide, lost) for user in up]
    seen = [_target_row(target, channels, lost) for target in targets]
    kept = [row for row in rows if row[1] is not None]
    sending = [row for row in sent if row[1] is not None]
    lit = [row for row in seen if row[1] is not None]
    clutter = _clutter(channels)
    shape = (0, *channels.users.shape[1:-1], cell.antennas)
    scene = Scene(
        cell=cell,
        budget=_limited(budget, cell),
        users=tuple(user for user, _ in kept),
        channels=np.stack([channels.users[at] for _, at in kept]) if kept else np.zeros(shape, np.complex128),
        noise_watts=channels.noise_watts,
        targets=tuple(target for target, _ in lit),
        steering=steering(np.array([target.angle_rad for target, _ in lit]), cell.antennas),
        snr_per_watt=np.zeros(len(lit)),
        senders=tuple(user for user, _ in sending),
        uplink=np.stack([heard[at] for _, at in sending]) if sending else heard[:0],
        sent_watts=_sent_watts(channels, [at for _, at in sending]),
        cancellation_db=channels.cancellation_db,
        residual=channels.residual,
        echo_noise_watts=channels.echo_noise_watts,
        gains=np.array([channels.sensing_gains[at] for _, at in lit]),
        clutter_angles=clutter[0],
        clutter_gains=clutter[1],
        left_out=tuple(lost),
    )
    return replace(scene, snr_per_watt=_echoes(scene))


def _clutter(channels: Channels) -> FloatArray:
    """Angles and gains of what is finite and reflects, float [2, C]."""
    if channels.clutter_angles_rad is None or channels.clutter_gains is None:
        return np.zeros((2, 0))
    both = np.array([channels.clutter_angles_rad, channels.clutter_gains], np.float64)
    return both[:, np.isfinite(both).all(axis=0) & (both[1] > 0)]


def _limited(budget: Budget, cell: Cell) -> Budget:
    return replace(budget, power_watts=min(budget.power_watts, cell.power_watts))


def _row(
    user: User, names: tuple[str, ...], values: ComplexArray, fits: bool, lost: list[str]
) -> tuple[User, int | None]:
    if user.name not in names:
        lost.append(f"user {user.name}: no channel was measured")
        return user, None
    at = names.index(user.name)
    if not fits:
        lost.append(f"user {user.name}: its channel has {values.shape[-1]} antennas, which the cell has not")
    elif not np.isfinite(values[at]).all():
        lost.append(f"user {user.name}: its channel is not finite")
    elif not np.abs(values[at]).any():
        lost.append(f"user {user.name}: its channel is zero")
    else:
        return user, at
    return user, None


def _target_row(target: Target, channels: Channels, lost: list[str]) -> tuple[Target, int | None]:
    if target.name not in channels.target_names:
        lost.append(f"target {target.name}: no sensing gain was measured")
        return target, None
    at = channels.target_names.index(target.name)
    gain = channels.sensing_gains[at]
    if not np.isfinite(gain) or gain <= 0:
        lost.append(f"target {target.name}: its sensing gain is {gain}")
        return target, None
    return target, at


def _sent_watts(channels: Channels, rows: list[int]) -> FloatArray:
    if channels.uplink_power_watts is None:
        return np.zeros(0)
    return np.asarray(channels.uplink_power_watts, np.float64)[rows]


def _echoes(scene: Scene) -> FloatArray:
    together = scene.budget.duplex == "full"
    towards = steering(np.array([target.angle_rad for target in scene.targets]), scene.cell.echo_antennas)
    return scene.gains * echo_snr_per_watt(
        towards,
        scene.echo_noise_watts,
        scene.budget.power_watts,
        scene.cancellation_db,
        scene.residual,
        scene.uplink if together else scene.uplink[:0],
        scene.sent_watts if together else scene.sent_watts[:0],
    )
