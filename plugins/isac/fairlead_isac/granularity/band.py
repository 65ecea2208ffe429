"""The slowest layer (a second and more): band, stage, and which targets are sensed how well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.layer import Answer, Observation, SolverFailed, TrackedTarget
from fairlead_isac.granularity.looks import LookNeeds, needs_of, symbol_snr
from fairlead_isac.physics.numerology import SPEED_OF_LIGHT, SUBCARRIERS_OF_A_BLOCK, SYMBOLS_OF_A_SLOT
from fairlead_isac.scenario import SensingNeed

#: (share of the largest rate, illumination as a share of the largest), measured for 16 antennas, 4 users and 20 dB SNR
#: over Rayleigh channels; what lies between two points is had by sharing time.
REGIONS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "separated": ((0.633, 0.115),),
    "orthogonal": ((1.0, 0.0), (0.0, 1.0)),
    # In each of its cells, time is shared.
    "collaborative": ((1.0, 0.0), (0.0, 1.0)),
    "converged": ((1.0, 0.06), (0.84, 0.58), (0.76, 0.72), (0.61, 0.85), (0.395, 0.91)),
}


def rate_share(stage: str, illumination: float) -> float:
    """Share of the largest rate that a stage leaves when it must give so much illumination; 0 where it cannot.

    Raises:
        IsacError: the stage has no region.
    """
    if stage not in REGIONS:
        raise IsacError(f"stage {stage!r}; accepted: {', '.join(REGIONS)}")
    points = sorted(REGIONS[stage], key=lambda point: point[1])
    if illumination > points[-1][1]:
        return 0.0
    return float(np.interp(illumination, [point[1] for point in points], [point[0] for point in points]))


@dataclass(frozen=True, slots=True)
class Service:
    """What a target is served with.

    Attributes:
        needs: of its looks.
        symbols: looks an interval.
        air_share: of time.
        relaxed: by how much standard deviations may be larger than required; 1: as required.
    """

    needs: LookNeeds
    symbols: int
    air_share: float
    relaxed: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class BandSetting:
    """What the band's layer gives the cell's.

    Attributes:
        resource_blocks: in use.
        stage: of integration.
        served: targets that are sensed, by name.
        shed: why the others are not.
        most_sensing: share of time that may go to sensing.
        power_watts: cap.
        bits_per_refresh: what an interval in which all needs of a target are met is worth in bits of data.
        air_price: bits that a second of air time is worth.
    """

    resource_blocks: int
    stage: str
    served: Mapping[str, Service]
    shed: Mapping[str, str]
    most_sensing: float
    power_watts: float
    bits_per_refresh: float
    air_price: float


class BandLayer:
    """Chooses by enumeration over bands and stages; targets by their value for air time (the LP's greedy solution).

    A target is sensed if what its looks take of the data is worth less than ``bits_per_refresh``; dearer ones are first
    tried with relaxed needs. Under the cap on sensing, those of most value for air time come first: that is the optimum
    of the linear relaxation, and the first one that does not fit sets the price of air time.

    Args:
        bits_per_refresh: see `BandSetting`.
        most_sensing: cap on sensing's share of time.
        blocks: bands to choose from; None: the cell's.
        stages: to choose from.
        range_resolution_m: two targets this far apart must be told apart; None: not asked for.
        relaxations: of standard deviations, in the order in which they are tried.
        period_s: at least 1.
    """

    name = "band"

    def __init__(
        self,
        bits_per_refresh: float,
        most_sensing: float = 0.5,
        blocks: Sequence[int] | None = None,
        stages: Sequence[str] = ("orthogonal",),
        range_resolution_m: float | None = None,
        relaxations: Sequence[float] = (1.0,),
        period_s: float = 1.0,
    ) -> None:
        if not bits_per_refresh >= 0.0 or not 0.0 <= most_sensing <= 1.0:
            raise IsacError(
                f"bits_per_refresh {bits_per_refresh!r}, most_sensing {most_sensing!r}; accepted: 0 or more, 0 to 1"
            )
        self.bits_per_refresh, self.most_sensing, self.period_s = bits_per_refresh, most_sensing, period_s
        self.blocks, self.stages = blocks, tuple(stages)
        self.range_resolution_m, self.relaxations = range_resolution_m, tuple(relaxations)

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Enumerate bands and stages; SolverFailed where no band resolves the range."""
        choices = [self._with_band(observation, blocks) for blocks in self._bands(observation)]
        best = max(choices, key=lambda choice: (choice[0], -choice[1].resource_blocks))[1]
        return Answer(best, self._reason(best), {"bits_per_second_of_air": best.air_price})

    def default(self, observation: Observation) -> Answer:
        """The whole band, for data alone."""
        shed = {tracked.target.name: "no decision yet" for tracked in observation.targets}
        blocks, power = observation.gains.shape[1], observation.cell.power_watts
        setting = BandSetting(blocks, self.stages[0], {}, shed, 0.0, power, self.bits_per_refresh, 0.0)
        return Answer(setting, "data alone until there is a decision")

    def _bands(self, observation: Observation) -> list[int]:
        whole = observation.gains.shape[1]
        listed = [blocks for blocks in self.blocks or (whole,) if blocks <= whole]
        spacing = observation.cell.numerology.subcarrier_spacing_hz
        least = self._least_bandwidth() / (SUBCARRIERS_OF_A_BLOCK * spacing)
        wide = [blocks for blocks in listed if blocks >= least - 1e-9]
        if not wide:
            raise SolverFailed(
                f"no band of {listed} blocks has the {math.ceil(least)} that the range's resolution needs"
            )
        return wide

    def _least_bandwidth(self) -> float:
        return 0.0 if self.range_resolution_m is None else SPEED_OF_LIGHT / (2.0 * self.range_resolution_m)

    def _with_band(self, observation: Observation, blocks: int) -> tuple[float, BandSetting]:
        """The value of a band in bit/s, and the setting with the stage that leaves most."""
        rate = full_rate(observation, blocks)
        served, shed, price = self._serve(observation, rate)
        share = sum(service.air_share for service in served.values())
        stage = max(self.stages, key=lambda stage: rate_share(stage, share))
        worth = sum(self.bits_per_refresh / service.needs.refresh_s for service in served.values())
        value = rate * rate_share(stage, share) + worth
        power = observation.cell.power_watts
        return value, BandSetting(
            blocks, stage, served, shed, self.most_sensing, power, self.bits_per_refresh, max(price, rate)
        )

    def _serve(self, observation: Observation, rate: float) -> tuple[dict[str, Service], dict[str, str], float]:
        served: dict[str, Service] = {}
        shed: dict[str, str] = {}
        price, left = 0.0, self.most_sensing
        offers = [(tracked, self._offer(tracked, observation, rate)) for tracked in observation.targets]
        for tracked, (service, why) in sorted(offers, key=lambda offer: _dearness(offer[0], offer[1][0])):
            name = tracked.target.name
            if why is not None:
                shed[name] = why
            elif service.air_share > left:
                worth = tracked.target.weight * self.bits_per_refresh / service.needs.refresh_s
                price = max(price, worth / service.air_share)
                shed[name] = f"takes {100 * service.air_share:.2g} % of time, {100 * left:.2g} % are left for sensing"
            else:
                served[name], left = service, left - service.air_share
        return served, shed, price

    def _offer(self, tracked: TrackedTarget, observation: Observation, rate: float) -> tuple[Service, str | None]:
        """The least relaxed service that is worth its air time; why not, if none is."""
        worth = self.bits_per_refresh * tracked.target.weight
        service = service_of(tracked, observation, self.relaxations[0])
        for relaxed in self.relaxations:
            service = service_of(tracked, observation, relaxed)
            cost = rate * service.air_share * service.needs.refresh_s
            if cost <= worth:
                return service, None
        return service, f"its looks cost {cost / 1e3:.3g} kbit an interval and are worth {worth / 1e3:.3g}"

    def _reason(self, setting: BandSetting) -> str:
        share = 100.0 * sum(service.air_share for service in setting.served.values())
        said = f"{setting.resource_blocks} blocks, {setting.stage}; sensing {', '.join(setting.served) or 'nothing'}"
        said += f" with {share:.2g} % of time"
        return said + "".join(f"; not {name}: {why}" for name, why in setting.shed.items())


def service_of(tracked: TrackedTarget, observation: Observation, relaxed: float = 1.0, lead_s: float = 0.0) -> Service:
    """What a target's needs take: at least one look a group, and as many as the energy asks for.

    Args:
        tracked: the target as it is now.
        observation: of the cell.
        relaxed: by how much standard deviations may be larger.
        lead_s: from now to the begin of the interval.
    """
    if relaxed != 1.0:
        eased = _eased(tracked.target.required, relaxed)
        tracked = replace(tracked, target=replace(tracked.target, required=eased))
    target, needs = tracked.target, needs_of(tracked, observation.cell)
    # A look from farther away has less energy, and a distance across asks for a better angle there.
    farther = target.range_m + max(0.0, target.velocity_m_per_s) * (needs.refresh_s + lead_s)
    energy = needs.energy * (farther / target.range_m) ** 2
    symbols = max(needs.groups, math.ceil(energy / symbol_snr(replace(target, range_m=farther), observation.cell)))
    return Service(needs, symbols, symbols * observation.cell.numerology.symbol_s / needs.refresh_s, relaxed)


def full_rate(observation: Observation, blocks: int | None = None) -> float:
    """Bit/s of data when no time goes to sensing: users share blocks evenly, power is even."""
    if not observation.users:
        return 0.0
    gains = observation.mean_gains[:, :blocks]
    gains = np.where(np.isfinite(gains), np.maximum(gains, 0.0), 0.0)
    block_hz = observation.cell.numerology.bandwidth_hz / observation.gains.shape[1]
    snr = gains * observation.cell.power_watts / gains.shape[1]
    return float(np.log2(1.0 + snr).mean(axis=0).sum() * block_hz)


def slots_of(duration_s: float, observation: Observation) -> int:
    """Whole slots in a duration, at least one."""
    return max(1, round(duration_s / (SYMBOLS_OF_A_SLOT * observation.cell.numerology.symbol_s)))


def _dearness(tracked: TrackedTarget, service: Service) -> float:
    return service.air_share * service.needs.refresh_s / tracked.target.weight


def _eased(required: SensingNeed, relaxed: float) -> SensingNeed:
    names = ("range_std_m", "velocity_std_m_per_s", "angle_std_rad")
    stated = {name: getattr(required, name) for name in names}
    return replace(required, **{name: value * relaxed for name, value in stated.items() if value is not None})
