"""`fairlead isac process`: a recorded capture to a picture with detections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import console, json_option, print_json, table

from ..errors import IsacError

_PROFILE = ("start_hz", "slope_hz_per_s", "sample_rate_hz", "interval_s")


@click.command()
@click.argument("capture", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The picture: .png, .svg or .pdf.")
@click.option("--moving-only", is_flag=True, help="Take off what stands still (raw samples only).")
@click.option("--false-alarm", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Per cell of noise.")
@click.option("--most", type=click.IntRange(1), help="At most so many detections, the strongest.")
@click.option("--carrier", type=click.FloatRange(0, min_open=True), help="Hz; OpenISAC maps then tell velocities.")
@click.option("--start", type=click.FloatRange(0, min_open=True), help="Hz at which a TI chirp begins.")
@click.option("--slope", type=click.FloatRange(0, min_open=True), help="Hz/s of its rise.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Hz of its converter.")
@click.option("--interval", type=click.FloatRange(0, min_open=True), help="s from one chirp to the next.")
@json_option
def process(capture: Path, out: Path | None, as_json: bool, **given: Any) -> None:
    """Map CAPTURE, detect targets in it, and draw both.

    CAPTURE is an OpenISAC map (.mat), TI mmWave samples (.npy) or Wi-Fi channel state of an Intel 5300 card (.dat).
    """
    try:
        done = _process(capture, out, given)
    except (IsacError, OSError) as error:
        raise CliError(str(error)) from None
    if as_json:
        print_json({**done.record(), "picture": None if out is None else str(out)})
        return
    surface = done.surface
    console().print(_found(done))
    for note in surface.notes:
        click.echo(f"  {note}")
    if out is not None:
        click.echo(str(out))


def _process(capture: Path, out: Path | None, given: dict[str, Any]) -> Any:
    from ..captures.detections import Search
    from ..captures.openisac import Recording
    from ..captures.processing import process as run
    from ..captures.ti_radar import ChirpProfile

    chirp = {name: given[option] for name, option in zip(_PROFILE, ("start", "slope", "rate", "interval"), strict=True)}
    stated = [value for value in chirp.values() if value is not None]
    if stated and len(stated) < len(chirp):
        raise IsacError("--start, --slope, --rate, --interval: accepted: all four, or none (axes are cells then)")
    search = {name: given[name] for name in ("false_alarm", "most") if given[name] is not None}
    return run(
        capture,
        out,
        moving_only=given["moving_only"],
        recording=Recording(carrier_hz=given["carrier"]),
        profile=ChirpProfile(**chirp) if stated else None,
        search=Search(**search),
    )


def _found(done: Any) -> Any:
    surface = done.surface
    rows = [
        (
            number,
            f"{each.row:.2f}",
            f"{each.column:+.2f}",
            "" if each.angle_rad is None else f"{each.angle_rad * 57.29578:+.1f}°",
            f"{each.snr_db:.1f} dB",
            "yes" if each.moving else "no",
        )
        for number, each in enumerate(done.detections, 1)
    ]
    columns = ("#", surface.rows.title, surface.columns.title, "angle", "over its surroundings", "moves")
    size = f"{len(surface.rows.values)} x {len(surface.columns.values)} cells"
    return table(f"{surface.name}: {surface.kind} map, {size}", columns, rows)
