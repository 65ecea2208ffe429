"""From a recorded file to a map, its detections and a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .detections import Detection, Search, detections, doppler_lines
from .openisac import Recording, read_openisac
from .picture import draw
from .problems import BadCapture
from .surface import Surface
from .ti_radar import ChirpProfile, Cube, read_cube
from .wifi import read_intel

SUFFIXES = {".mat": "OpenISAC map", ".npy": "TI mmWave samples", ".dat": "Intel 5300 channel state"}


@dataclass(frozen=True)
class Processed:
    """What a file holds: its map, and what was detected in it (targets, or lines that last), strongest first."""

    surface: Surface
    detections: list[Detection]

    def record(self) -> dict[str, Any]:
        """The same for programs, without the map's values: plain numbers and text."""
        surface = self.surface
        axes = {
            side: {"label": axis.label, "unit": axis.unit, "cells": len(axis.values), "step": axis.step}
            for side, axis in (("rows", surface.rows), ("columns", surface.columns))
        }
        found = [asdict(each) for each in self.detections]
        return {"kind": surface.kind, "name": surface.name, **axes, "notes": list(surface.notes), "detections": found}


def process(
    path: Path,
    picture: Path | None = None,
    *,
    moving_only: bool = False,
    recording: Recording = Recording(),
    profile: ChirpProfile | None = None,
    search: Search = Search(),
) -> Processed:
    """Read a recording, detect targets in a range-Doppler map or lines in a micro-Doppler map, and draw it.

    Args:
        path: .mat (OpenISAC maps), .npy (TI mmWave samples) or .dat (Wi-Fi channel state of Intel 5300 cards).
        picture: written where it is given: .png, .svg or .pdf.
        moving_only: take off what stands still (raw samples only: a recorded map is as it was made).
        recording: how OpenISAC maps were made.
        profile: how a TI radar was set up; None: its axes are told in cells.
        search: how targets are sought.

    Raises:
        BadCapture: the file is none of these, or damaged.
        NotFound: there is no such file.
        MissingExtra: a picture is asked for without matplotlib.
    """
    if path.suffix.lower() == ".npy":
        done = _of_cube(read_cube(path), moving_only, profile, search)
    else:
        surface = read_surface(path, moving_only=moving_only, recording=recording)
        done = Processed(surface, _found(surface, search))
    if picture is not None:
        draw(done.surface, done.detections, picture)
    return done


def read_surface(
    path: Path,
    *,
    moving_only: bool = False,
    recording: Recording = Recording(),
    profile: ChirpProfile | None = None,
) -> Surface:
    """Map of a recording; arguments and errors as for :func:`process`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(f"{name} ({what})" for name, what in SUFFIXES.items())
        raise BadCapture(path, "suffix", repr(path.suffix), known)
    if moving_only and suffix != ".npy":
        raise BadCapture(path, "moving_only", "true", "false: only raw samples (.npy) can be filtered")
    if suffix == ".mat":
        return read_openisac(path, recording)
    return read_cube(path).surface(profile, moving_only) if suffix == ".npy" else read_intel(path).surface()


def _found(surface: Surface, search: Search) -> list[Detection]:
    if surface.kind == "range-Doppler":
        return detections(surface, search)
    return doppler_lines(surface, search) if surface.kind == "micro-Doppler" else []


def _of_cube(cube: Cube, moving_only: bool, profile: ChirpProfile | None, search: Search) -> Processed:
    surface = cube.surface(profile, moving_only)
    found = detections(surface, search)
    cells = [(surface.rows.cell(each.row), surface.columns.cell(each.column)) for each in found]
    angles = [None if np.isnan(angle) else float(angle) for angle in cube.angles(cells, moving_only)]
    return Processed(surface, [replace(each, angle_rad=angle) for each, angle in zip(found, angles, strict=True)])
