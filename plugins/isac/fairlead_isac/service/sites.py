"""Replicas as cells: the same users and targets, seen from where each replica's array stands."""

from __future__ import annotations

import math
from typing import Any

from ..settings import Settings, Site, Target, User

#: What an antenna's back hears less than its front: A_max of 3GPP TR 38.901, table 7.3-1.
BACK_LOSS_DB = 30.0


def cell_name(settings: Settings, replica: int) -> str:
    """The name of a replica's cell: its site's; without sites the configured one, with the replica's number from 1."""
    if replica < len(settings.sites):
        return settings.sites[replica].name
    return settings.cell.name if replica == 0 else f"{settings.cell.name}-{replica}"


def settings_at(settings: Settings, replica: int) -> Settings:
    """A workload's settings as they are at the site of one of its replicas.

    Users behind the array are heard over its back, `BACK_LOSS_DB` weaker; targets behind it are not seen. Channels and
    noise are drawn from a seed of its own.

    Raises:
        ValueError: there are sites, but none for this replica.
    """
    if settings.sites and replica >= len(settings.sites):
        raise ValueError(f"sites: {len(settings.sites)}, and this is replica {replica}; accepted: one for each replica")
    update: dict[str, Any] = {
        "cell": settings.cell.model_copy(update={"name": cell_name(settings, replica)}),
        "radio": settings.radio.model_copy(update={"seed": settings.radio.seed + replica}),
    }
    if settings.sites:
        site = settings.sites[replica]
        update["users"] = tuple(_user(user, site) for user in settings.users)
        if site.backhaul_bits_per_s is not None:
            update["edge"] = settings.edge.model_copy(update={"backhaul_bits_per_s": site.backhaul_bits_per_s})
        seen = (_target(target, site) for target in settings.targets)
        update["targets"] = tuple(target for target in seen if target is not None)
    return settings.model_copy(update=update)


def _user(user: User, site: Site) -> User:
    distance, angle = seen_from(site, user.distance_m, user.angle_degrees)
    behind = abs(angle) > 90.0
    # A linear array cannot tell its back from its front: the same phases come from the mirrored angle.
    angle = math.copysign(180.0 - abs(angle), angle) if behind else angle
    loss = user.loss_db + BACK_LOSS_DB * behind
    return user.model_copy(update={"distance_m": max(distance, 1.0), "angle_degrees": angle, "loss_db": loss})


def _target(target: Target, site: Site) -> Target | None:
    distance, angle = seen_from(site, target.range_m, target.angle_degrees)
    if abs(angle) > 90.0 or distance <= 0.0:
        return None
    # It moves along the line from x = y = 0; this is the part of that along the line from the site.
    turned = math.radians(angle + site.broadside_degrees - target.angle_degrees)
    velocity = target.velocity_m_per_s * math.cos(turned)
    return target.model_copy(update={"range_m": distance, "angle_degrees": angle, "velocity_m_per_s": velocity})


def seen_from(site: Site, distance_m: float, angle_degrees: float) -> tuple[float, float]:
    """Distance in m and angle from a site's broadside in degrees (-180 to 180) of what is told from x = y = 0."""
    x = distance_m * math.cos(math.radians(angle_degrees)) - site.x_m
    y = distance_m * math.sin(math.radians(angle_degrees)) - site.y_m
    angle = math.degrees(math.atan2(y, x)) - site.broadside_degrees
    return math.hypot(x, y), (angle + 180.0) % 360.0 - 180.0
