"""`fairlead style` in this process: files in, files out, errors in one line."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fairlead_agent.cli.api_client import find_client
from fairlead_stylization.commands import looks
from fairlead_stylization.commands.page import style_page
from fairlead_stylization.commands.sheet import style_sheet
from fairlead_stylization.commands.style import style
from fairlead_stylization.networks import running
from fairlead_stylization.pictures import Picture, read_picture, write_picture
from tests.plugins.stylization.small_network import random_clip, random_network

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_network(tmp_path_factory.mktemp("network"))


@pytest.fixture
def here(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures; the network that ships is the random one."""
    monkeypatch.setattr(running, "WEIGHTS", network)
    monkeypatch.setattr(running.shipped_stylizer, "__defaults__", ("edge", 1, network))
    monkeypatch.setattr(looks, "find_client", lambda *_: pytest.fail("no fleet was meant"))
    rng = np.random.default_rng(0)
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    for name in ("photo", "paint", "other", "in/photo"):
        write_picture(Picture(rng.random((48, 40, 3), np.float32)), tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: object, *words: str) -> Result:
    return CliRunner().invoke(command, list(words))  # type: ignore[arg-type]


def test_one_picture(here: Path) -> None:
    result = run(style, "photo.png", "--style", "paint.png", "--local", "--strength", "0.7", "-o", "out")
    assert result.exit_code == 0, result.output
    assert read_picture(here / "out/photo.png").pixels.shape == (48, 40, 3)


def test_several_and_different_ones(here: Path) -> None:
    result = run(style, "photo.png", "--style", "paint.png", "--local", "--diverse", "2", "-o", "out")
    assert result.exit_code == 0, result.output
    first, second = (read_picture(here / f"out/photo-0{number}.png").pixels for number in (1, 2))
    assert np.abs(first - second).mean() > 1e-4
    assert "distance" in (here / "out/photo-diversity.json").read_text()


def test_a_text_and_a_picture_lead_the_search(here: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: texts are not tested")
    random_clip(here / "clip", "a photo of stormy seas")
    led = ("--text", "a stormy sea", "--clip", "clip", "--towards", "other.png")
    result = run(style, "photo.png", "--style", "paint.png", "--local", *led, "-o", "out")
    assert result.exit_code == 0, result.output
    assert (here / "out/photo-01.png").exists() and not (here / "out/photo-02.png").exists()
    result = run(style, "photo.png", "--style", "paint.png", *led)
    assert result.exit_code != 0 and "--clip: without --local" in result.output


def test_hidden_files_of_a_folder_are_no_pictures(here: Path) -> None:
    (here / "in/._photo.png").write_bytes(b"what a system keeps beside a picture")
    result = run(style, "in", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (here / "out").iterdir()] == ["photo.png"]


def test_what_is_passed_over_in_a_folder_is_said_once(here: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c.avif", "notes"):
        (here / "in" / name).write_bytes(b"no picture that is read")
    result = run(style, "in", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 0 and [path.name for path in (here / "out").iterdir()] == ["photo.png"]
    told = "in: passed over: 1 without an ending, 1 .avif, 2 .heic; accepted: PNG, JPEG"
    assert result.stderr.count("passed over") == 1 and told in result.stderr and "passed over" not in result.stdout
    (here / "in/photo.png").unlink()
    result = run(style, "in", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 1 and "no picture in it (1 without an ending, 1 .avif, 2 .heic)" in result.output


def test_a_kind_of_picture_that_is_not_read_is_named(here: Path) -> None:
    (here / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(32))
    result = run(style, "a.heic", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 1
    assert (
        result.stderr.strip().splitlines()[-1].endswith("a.heic: HEIC; accepted: PNG, JPEG, WebP, GIF, BMP, TIFF, PPM")
    )
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(here / "in/b.ppm")
    result = run(style, "in", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 0 and (here / "out/b.png").exists()


def test_a_folder_loses_only_what_cannot_be_read(here: Path) -> None:
    (here / "in/bad.png").write_bytes(b"no picture")
    both = ("--style", "paint.png", "--style", "other.png", "--style-weight", "1", "--style-weight", "2")
    result = run(style, "in", *both, "--local", "-o", "out")
    assert result.exit_code != 0 and "1 of 2 failed" in result.output and "bad.png: no picture" in result.output
    assert (here / "out/photo.png").exists()


def test_pictures_of_one_stem_keep_their_endings(here: Path) -> None:
    write_picture(read_picture(here / "photo.png"), here / "in/photo.bmp")
    result = run(style, "in", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (here / "out").iterdir()} == {"photo.png.png", "photo.bmp.png"}


def test_frames_are_steady(here: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed: videos are not tested")
    for number in range(2):
        write_picture(read_picture(here / "photo.png"), here / f"frames/{number}.png")
    result = run(style, "frames", "--frames", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (here / "out/frames").iterdir()) == [".styled.json", "0.png", "1.png"]
    # Fewer frames leave none of the run before; what others put there stays, and so does what another source has.
    (here / "frames/1.png").unlink()
    for name in ("2.png", "notes.txt"):
        (here / "out/frames" / name).write_bytes(b"mine")
    result = run(style, "frames", "--frames", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 0 and "out/frames: 1 of an earlier run's results removed" in result.stderr
    assert names(here / "out/frames") == {".styled.json", "0.png", "2.png", "notes.txt"}
    write_picture(read_picture(here / "photo.png"), here / "else/frames/5.png")
    result = run(style, "else/frames", "--frames", "--style", "paint.png", "--local", "-o", "out")
    assert result.exit_code == 0 and "removed" not in result.stderr
    assert names(here / "out/frames") == {".styled.json", "0.png", "2.png", "5.png", "notes.txt"}


def test_a_stopped_run_over_frames_is_known_to_the_next(here: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed: videos are not tested")
    write_picture(read_picture(here / "photo.png"), here / "frames/0.png")
    (here / "frames/1.png").write_bytes(b"no picture")
    (here / "out/frames").mkdir(parents=True)
    (here / "out/frames/1.png").write_bytes(b"mine")
    assert run(style, "frames", "--frames", "--style", "paint.png", "--local", "-o", "out").exit_code == 1
    (here / "frames/0.png").rename(here / "frames/2.png")
    (here / "frames/1.png").unlink()
    assert run(style, "frames", "--frames", "--style", "paint.png", "--local", "-o", "out").exit_code == 0
    assert names(here / "out/frames") == {".styled.json", "1.png", "2.png"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_fewer_different_results_leave_none_of_the_run_before(here: Path) -> None:
    words = ("--style", "paint.png", "--local", "-o", "out")
    assert run(style, "photo.png", *words, "--diverse", "4").exit_code == 0
    (here / "out/photo-05.png").write_bytes(b"mine")
    mine = here / "out/photo-03.png"  # changed since
    mine.write_bytes(b"mine, too")
    os.utime(mine, ns=(0, (here / "out/photo-diversity.json").stat().st_mtime_ns + 1))
    result = run(style, "photo.png", *words, "--diverse", "2")
    assert result.exit_code == 0 and "out: 1 of an earlier run's results removed" in result.stderr
    kept = {f"photo-0{number}.png" for number in (1, 2, 3, 5)} | {"photo-diversity.json"}
    assert names(here / "out") == kept and mine.read_bytes() == b"mine, too"
    assert json.loads((here / "out/photo-diversity.json").read_text())["results"] == ["photo-01.png", "photo-02.png"]
    # What is read is never removed: a result of the last run is the style of this one.
    result = run(style, "photo.png", "--style", "out/photo-02.png", "--local", "-o", "out", "--towards", "other.png")
    assert result.exit_code == 0 and names(here / "out") == kept


@pytest.mark.parametrize("told", ['{"results": ["../other.png", "other.png", 3]}', "[]", "{", '{"results": 1}'])
def test_a_report_of_others_removes_nothing(here: Path, told: str) -> None:
    (here / "out").mkdir()
    (here / "out/other.png").write_bytes(b"mine")
    (here / "out/photo-diversity.json").write_text(told)
    words = ("--style", "paint.png", "--local", "-o", "out", "--diverse", "2")
    result = run(style, "photo.png", *words)
    assert result.exit_code == 0 and (here / "other.png").exists() and (here / "out/other.png").exists()


def test_a_scene_gets_views_and_a_texture(here: Path) -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed: scenes are not tested")
    trimesh.creation.icosphere(subdivisions=2).export(here / "ball.ply")
    words = ("--style", "paint.png", "--local", "--views", "3", "--size", "48", "--prompt", "1", "-o", "out")
    result = run(style, "ball.ply", *words)
    assert result.exit_code == 0, result.output
    assert {path.name for path in (here / "out/ball").iterdir()} == {
        "000.png", "001.png", "002.png", "turntable.gif", "scene.glb",
    }  # fmt: skip
    again = trimesh.load(here / "out/ball/scene.glb", force="mesh")
    assert len(again.faces) == 320
    # Fewer views leave none of the run before; after a gap, numbers are somebody else's.
    (here / "out/ball/007.png").write_bytes(b"mine")
    words = ("--style", "paint.png", "--local", "--views", "1", "--size", "48", "-o", "out")
    result = run(style, "ball.ply", *words)
    assert result.exit_code == 0 and "out/ball: 2 of an earlier run's results removed" in result.stderr
    assert names(here / "out/ball") == {"000.png", "007.png", "turntable.gif", "scene.glb"}
    # Without what tells of an earlier run nothing is known to be of one.
    (here / "out/ball/turntable.gif").unlink()
    (here / "out/ball/001.png").write_bytes(b"mine")
    assert run(style, "ball.ply", *words).exit_code == 0 and (here / "out/ball/001.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "."), "photo.png is read and would be written; accepted: another folder"),
        (("in/photo.png",), "in/photo.png: photo.png has this name, too; accepted"),
        (("clip.mp4", "--diverse", "2"), "clip.mp4: --diverse: with a video; accepted: with pictures"),
        (("--style", "clip.mp4"), "clip.mp4: no picture; accepted: PNG"),
        (("--style-weight", "1", "--style-weight", "2"), "--style-weight: 2 values"),
        (("--style-weight", "-3"), "--style-weight: -3; accepted: numbers of 0 and above"),
        (("--style-weight", "nan"), "--style-weight: nan; accepted"),
        (("-o", "photo.png/out"), "photo.png is no folder; accepted: a folder that can be written to"),
        (("other.png", "--mask", "in/photo.png", "-o", "in"), "in/photo.png is read and would be written"),
        (("--mask", "frames.png"), "does not exist"),
        (("--strength", "3"), "0<=x<=1"),
        (("--text", "a sea"), "text 'a sea'; accepted: none, where no CLIP"),
        (("--style", "other.png", "--towards", "other.png"), "--style: 2 of them with --diverse"),
    ],
)
def test_wrong_words_are_named(here: Path, words: tuple[str, ...], told: str) -> None:
    result = run(style, "photo.png", "--style", "paint.png", "--local", *words)
    assert result.exit_code != 0 and told in result.output


@pytest.mark.parametrize("command", [(style, "photo.png", "--style", "paint.png"), (style_page, "--no-open")])
def test_a_variant_that_a_fleet_would_not_hear_of_is_refused(here: Path, command: tuple[object, ...]) -> None:
    result = run(command[0], *map(str, command[1:]), "--variant", "quality")
    assert result.exit_code == 1 and "--variant quality: without --local; accepted: with it" in result.output


def test_a_page_whose_port_is_taken_says_so(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(style_page, "--no-open", "--service", "http://127.0.0.1:1", "--port", str(port))
    assert result.exit_code == 1 and f"--port {port}: Address already in use; accepted: a free port" in result.output
    assert "http://" not in result.output


def test_pictures_are_written_as_asked(here: Path) -> None:
    result = run(
        style, "photo.png", "--style", "paint.png", "--local", "--format", "jpeg", "--quality", "60", "-o", "."
    )
    assert result.exit_code == 0, result.output
    assert (here / "photo.jpg").read_bytes()[:2] == b"\xff\xd8"
    result = run(style, "photo.jpg", "--style", "paint.png", "--local", "--format", "jpeg", "-o", ".")
    assert result.exit_code != 0 and "photo.jpg is read and would be written" in result.output


def test_output_is_the_paths_that_were_written_and_nothing_else(here: Path) -> None:
    grey = np.repeat(np.linspace(0, 65535, 48 * 40).reshape(48, 40, 1), 1, axis=2)[..., 0].astype(np.uint16)
    Image.fromarray(grey).save(here / "grey.tif")
    result = run(style, "grey.tif", "--style", "paint.png", "--local", "-o", "out")
    assert result.stdout == "out/grey.png\n"
    assert "16 bit to float" in result.stderr


def test_who_has_no_fleet_hears_that_none_is_needed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAIRLEAD_URL", "FAIRLEAD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setattr(looks, "find_client", find_client)
    result = run(style, "photo.png", "--style", "paint.png")
    assert result.exit_code == 1 and "`fairlead up`" in result.output and "`--local` needs no fleet" in result.output


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("sheet.xyz", "--out sheet.xyz: ending '.xyz'; accepted: .png"),
        ("paint.png", "--out paint.png: is read and would be written; accepted: another file"),
        ("photo.png/sheet.png", "photo.png is no folder; accepted"),
    ],
)
def test_a_sheet_is_refused_before_the_work(here: Path, out: str, told: str) -> None:
    before = (here / "paint.png").read_bytes()
    result = run(style_sheet, "photo.png", "--style", "paint.png", "--size", "40", "--local", "-o", out)
    assert result.exit_code == 1 and told in result.output and "stylizing" not in result.output
    assert (here / "paint.png").read_bytes() == before


def test_a_sheet_has_all_of_them(here: Path) -> None:
    result = run(style_sheet, "photo.png", "--style", "paint.png", "--style", "other.png", "--size", "40", "--local",
                 "-o", "sheet.png")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert read_picture(here / "sheet.png").pixels.shape == (84, 128, 3)
