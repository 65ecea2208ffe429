"""Which cells see what a request is about, and what it would cost each of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import IsacError
from ..requests.admission import Capacity, admit
from ..requests.request import Area, SensingRequest, requirements
from ..settings import Settings, Site
from .cell_state import cell_of
from .sites import seen_from

#: From broadside; farther to the side an array's angles mean little.
WIDEST_DEGREES = 80.0
LEAST_SPEED_M_PER_S = 5.0
UNSEEN = "it does not see it: behind its array, or too far to its side"


@dataclass(frozen=True, slots=True)
class View:
    """What a cell sees of it.

    Attributes:
        cell: its name.
        replica: that it is.
        area: as it sees it.
        air_share: of its air time that the request would take, were nothing else sensed.
    """

    cell: str
    replica: int
    area: Area
    air_share: float


def views(
    request: SensingRequest, replicas: Iterable[int], settings_of: Callable[[int], Settings]
) -> tuple[list[View], dict[str, str]]:
    """Cells that could sense it, the one that takes least air time first, and why the others could not.

    Args:
        request: an area is told as seen from x = y = 0 along the x axis, as users and targets are.
        replicas: of the cells that there are.
        settings_of: the workload's settings at a replica's site.

    Raises:
        IsacError: a target that no cell knows.
    """
    seeing, blind, known = list[View](), dict[str, str](), set[str]()
    for replica in replicas:
        settings = settings_of(replica)
        known |= {target.name for target in settings.targets}
        area = area_seen(request, settings, replica)
        if area is None:
            blind[settings.cell.name] = UNSEEN
            continue
        admission = admit(requirements(request), area, Capacity(cell_of(settings), settings.sensing.maximum))
        if admission.looks is None:
            blind[settings.cell.name] = "; ".join(admission.reasons())
        else:
            seeing.append(View(settings.cell.name, replica, area, admission.looks.air_share))
    if request.target is not None and request.target not in known:
        accepted = ", ".join(sorted(known)) or "the workload names none"
        raise IsacError(f"target = {request.target!r}: no such target; accepted: {accepted}")
    return sorted(seeing, key=lambda view: view.air_share), blind


def area_of(settings: Settings, name: str) -> Area | None:
    """Where a cell sees one of the workload's targets; None: it does not."""
    target = next((each for each in settings.targets if each.name == name), None)
    if target is None:
        return None
    return Area(
        angle_degrees=max(-WIDEST_DEGREES, min(WIDEST_DEGREES, target.angle_degrees)),
        range_m=target.range_m,
        speed_m_per_s=max(LEAST_SPEED_M_PER_S, 2 * abs(target.velocity_m_per_s)),
        rcs_m2=target.rcs_m2,
    )


def in_sight(area: Area) -> Area:
    """The area, as a cell sees it; raises ``IsacError`` where its array does not."""
    if abs(area.angle_degrees) > WIDEST_DEGREES:
        raise IsacError(
            f"area.angle_degrees = {area.angle_degrees:g}: accepted: -{WIDEST_DEGREES:g} to {WIDEST_DEGREES:g} "
            "from this cell's broadside"
        )
    return area


def area_seen(request: SensingRequest, settings: Settings, replica: int) -> Area | None:
    """A request's area or target as a cell sees it; None: it does not."""
    if request.area is None:
        return area_of(settings, request.target or "")
    site = settings.sites[replica] if settings.sites else Site(name=settings.cell.name)
    distance, angle = seen_from(site, request.area.range_m, request.area.angle_degrees)
    if abs(angle) > WIDEST_DEGREES or not 0 < distance < math.inf:
        return None
    return request.area.model_copy(update={"range_m": distance, "angle_degrees": angle})
