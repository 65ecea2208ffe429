"""Videos in and out, and less flicker where things move, without ghosts where they appear."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fairlead_stylization.errors import BadPicture, MissingExtra
from fairlead_stylization.pictures import Limits, Picture, write_picture
from fairlead_stylization.quality.similarity import high_frequency_energy
from fairlead_stylization.video.consistency import Steadiness, SteadyFrames, warped_rmse
from fairlead_stylization.video.detail import bands, energies, mixed
from fairlead_stylization.video.flow import inside, optical_flow, traceable, warp
from fairlead_stylization.video.frames import VideoFrames, open_frames, open_sink
from fairlead_stylization.video.stylizing import stylize_video

pytest.importorskip("cv2", reason="OpenCV is not installed: optical flow is not tested")


def scene(shift: float, *, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth random picture that moves to the right by ``shift`` pixels."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    picture = np.zeros((height, width, 3), np.float32)
    for _ in range(24):
        fx, fy, phase = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35), rng.uniform(0, 6.3, 3)
        picture += np.sin((x - shift)[..., None] * fx + y[..., None] * fy + phase)
    return ((picture - picture.min()) / np.ptp(picture)).astype(np.float32)


def flickering(frame: np.ndarray, number: int) -> np.ndarray:
    """A stylizer whose colours depend on the frame's number, as instance statistics make them."""
    gain = 1 + 0.25 * np.sin(2.4 * number)
    return np.clip(frame**0.7 * gain, 0, 1).astype(np.float32)


def test_flow_finds_where_pixels_were() -> None:
    flow = optical_flow(scene(3.0), scene(0.0))
    middle = flow[16:-16, 16:-16]
    assert abs(float(np.median(middle[..., 0])) + 3.0) < 0.3 and abs(float(np.median(middle[..., 1]))) < 0.3
    moved = warp(scene(0.0), flow)
    assert np.abs(moved - scene(3.0))[16:-16, 16:-16].mean() < 0.02


def test_what_was_hidden_cannot_be_followed() -> None:
    before, after = scene(0.0), scene(0.0).copy()
    after[30:60, 40:80] = scene(50.0)[30:60, 40:80]
    shown = traceable(optical_flow(after, before), optical_flow(before, after))
    assert shown[:20].mean() > 0.95
    assert not inside(np.full((4, 4, 2), 9, np.float32)).any()


def test_blending_takes_flicker_away_and_keeps_detail() -> None:
    steady, plain, smooth = SteadyFrames(), [], []
    frames = [scene(2.0 * number) for number in range(6)]
    for number, frame in enumerate(frames):
        plain.append(flickering(frame, number))
        smooth.append(steady.step(frame, plain[-1]))

    def flicker(outputs: list[np.ndarray]) -> float:
        found = []
        for number in range(2, len(frames)):
            backward = optical_flow(frames[number], frames[number - 1])
            visible = traceable(backward, optical_flow(frames[number - 1], frames[number]))
            found.append(warped_rmse(outputs[number - 1], outputs[number], backward, visible))
        return float(np.mean(found))

    assert flicker(smooth) < 0.5 * flicker(plain)

    def detail(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture, axis=1)).mean())

    assert detail(smooth[-1]) > 0.8 * min(detail(picture) for picture in plain)


def photograph(shift: float, *, side: int = 128) -> np.ndarray:
    """A window of a rough random picture that goes on to the left by ``shift`` pixels, as by Fourier transforms."""
    rng = np.random.default_rng(3)
    down, across = np.fft.fftfreq(2 * side)[:, None], np.fft.fftfreq(2 * side)[None]
    rough = np.exp(-(((down**2 + across**2) / 0.15**2) ** 2)) / (0.02 + np.hypot(down, across))
    spectrum = np.fft.fft2(rng.standard_normal((2 * side, 2 * side, 3)), axes=(0, 1)) * rough[..., None]
    picture = np.fft.ifft2(spectrum * np.exp(2j * np.pi * shift * across)[..., None], axes=(0, 1)).real
    return np.clip(0.5 + 0.15 * picture[:side, :side] / picture.std(), 0, 1).astype(np.float32)


def strokes(number: int, *, side: int = 128) -> np.ndarray:
    """Other strokes for each frame: what a stylizer draws that does not follow what moves."""
    noise = np.random.default_rng(number).standard_normal((side, side, 3)).astype(np.float32)
    soft = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 4
    return (0.06 * soft).astype(np.float32)


@pytest.mark.parametrize("speed", [0.0, 0.37])
def test_detail_is_kept_for_thirty_frames(speed: float) -> None:
    steady, plain = SteadyFrames(), photograph(0.0)
    out = plain
    for number in range(31):
        frame = photograph(speed * number)
        plain = np.clip(frame + strokes(number), 0, 1).astype(np.float32)
        out = steady.step(frame, plain)
    middle = slice(8, -8)
    kept = high_frequency_energy(out[middle, middle]) / high_frequency_energy(plain[middle, middle])
    assert 0.9 < kept < 1.15


def test_a_still_video_stays_still() -> None:
    frame = photograph(0.0)
    plain = np.clip(frame + strokes(0), 0, 1).astype(np.float32)
    steady, out = SteadyFrames(), plain
    for _ in range(31):
        out = steady.step(frame, plain)
    np.testing.assert_allclose(out, plain, atol=0.004)


def test_strokes_stay_where_they_are_drawn() -> None:
    frame, steady = photograph(0.0), SteadyFrames()
    drawn = [np.clip(frame + strokes(number), 0, 1).astype(np.float32) for number in range(12)]
    made = [steady.step(frame, picture) for picture in drawn]
    changes = np.mean([np.abs(one - other).mean() for one, other in itertools.pairwise(made)])
    assert changes < 0.15 * np.mean([np.abs(one - other).mean() for one, other in itertools.pairwise(drawn)])
    assert np.abs(made[-1] - drawn[0]).mean() < 0.6 * np.abs(drawn[-1] - drawn[0]).mean()


def test_what_was_behind_shows_none_of_what_was_before() -> None:
    """A bright square leaves its place: what is behind it is there at once."""
    steady, dark = SteadyFrames(), np.full((96, 128, 3), 0.25, np.float32) * photograph(0.0, side=128)[:96]
    for number in range(10):
        frame = dark.copy()
        frame[32:64, 20 + 6 * number : 52 + 6 * number] = 0.9 * photograph(3.0)[32:64, :32] + 0.1
        out = steady.step(frame, frame)
        if number:
            left = slice(16 + 6 * number, 19 + 6 * number)
            assert np.abs(out[34:62, left] - frame[34:62, left]).mean() < 0.02


def test_bands_sum_to_the_picture_and_a_mixture_with_itself_is_itself() -> None:
    picture = photograph(0.0)
    np.testing.assert_allclose(sum(bands(picture)), picture, atol=1e-5)
    half = np.full(picture.shape[:2], 0.5, np.float32)
    again = mixed(picture, picture, picture, sure=half, coarse=half, fine=half, wanted=energies(picture))
    np.testing.assert_allclose(again, picture, atol=1e-4)


def test_a_mixture_of_strangers_is_as_strong_as_they_are() -> None:
    one, other = (np.float32(0.5) + strokes(number) for number in (1, 2))
    half = np.full(one.shape[:2], 0.5, np.float32)
    wanted = energies(one)
    got = mixed(one, other, other, sure=half, coarse=half, fine=half, wanted=wanted)
    assert high_frequency_energy((one + other) / 2) < 0.6 * high_frequency_energy(one)
    assert high_frequency_energy(got) == pytest.approx(high_frequency_energy(one), rel=0.1)


def test_after_a_cut_nothing_of_what_was_before_comes_back() -> None:
    steady = SteadyFrames()
    for number in range(4):
        steady.step(photograph(number), 1 - photograph(number))
    other = np.zeros_like(photograph(0.0)) + 0.02
    np.testing.assert_array_equal(steady.step(other, other), other)
    np.testing.assert_allclose(steady.step(other, other), other, atol=1e-3)


def test_a_cut_leaves_no_ghost() -> None:
    steady = SteadyFrames(Steadiness(blend=0.9))
    dark, light = np.full((64, 64, 3), 0.1, np.float32), np.full((64, 64, 3), 0.9, np.float32)
    steady.step(dark, dark)
    np.testing.assert_array_equal(steady.step(light, light), light)


def test_frames_too_small_for_flow_pass() -> None:
    steady = SteadyFrames()
    small = np.full((4, 4, 3), 0.5, np.float32)
    for _ in range(2):
        assert np.isfinite(steady.step(small, small)).all()


@pytest.mark.parametrize("values", [{"blend": 1.0}, {"blend": -0.1}, {"tolerance": 0.0}])
def test_steadiness_refuses_by_name(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(values))} .*accepted"):
        Steadiness(**values)


def test_a_video_file_goes_through(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: video files are not tested")
    clip, out = tmp_path / "clip.mp4", tmp_path / "out" / "styled.mkv"
    with open_sink(clip, Fraction(24)) as sink:
        for number in range(5):
            sink.add(str(number), scene(2.0 * number, height=65, width=97))
    told: list[tuple[int, int | None]] = []
    count = stylize_video(clip, out, lambda frame: 1 - frame, progress=lambda done, total: told.append((done, total)))
    frames = list(open_frames(out))
    assert count == 5 and len(frames) == 5 and told[-1] == (5, 5)
    assert frames[0][1].shape == (66, 98, 3)
    assert np.abs(frames[0][1][:65, :97] - (1 - scene(0.0, height=65, width=97))).mean() < 0.05
    assert VideoFrames(out, Limits()).rate == 24
    assert [item.name for item in out.parent.iterdir()] == ["styled.mkv"]


def test_sound_is_kept(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed: video files are not tested")
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.height, video.width, video.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        tone = np.sin(np.arange(16000) * 0.1).astype(np.float32)[None]
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8), format="rgb24")
            container.mux(video.encode(frame))
            part = av.AudioFrame.from_ndarray(
                tone[:, 1600 * number : 1600 * (number + 1)], format="fltp", layout="mono"
            )
            part.rate, part.pts = 16000, 1600 * number
            container.mux(sound.encode(part))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    stylize_video(clip, tmp_path / "out.mp4", lambda frame: frame)
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert written.streams.audio[0].codec_context.name == "aac"
        heard = sum(frame.samples for frame in written.decode(audio=0))
    assert abs(heard - 16000) <= 3 * 1024


def test_portraits_of_telephones_are_upright(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: video files are not tested")
    lying = np.zeros((64, 96, 3), np.float32)
    lying[:32, :48] = 1
    with open_sink(tmp_path / "lying.mp4", Fraction(25)) as sink:
        sink.add("0", lying)
    # The track's matrix says to turn clockwise, as telephones write it; the first such matrix is the whole file's.
    there, turned = (
        b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, a, 0, 0, 0, 1 << 30))
        for a, b, c in ((1 << 16, 0, 0), (0, 1 << 16, -(1 << 16)))
    )
    content = (tmp_path / "lying.mp4").read_bytes()
    place = content.index(there, content.index(there) + 1)
    (tmp_path / "portrait.mp4").write_bytes(content[:place] + turned + content[place + len(turned) :])
    ((_, frame),) = open_frames(tmp_path / "portrait.mp4")
    assert frame.shape == (96, 64, 3)
    assert frame[:48, 32:].mean() > 0.9 and frame[48:].mean() < 0.1


def test_a_folder_of_any_name_goes_through_in_order(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write_picture(Picture(np.full((20, 24, 3), number / 4, np.float32)), tmp_path / "in" / f"f{number}.png")
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    out = tmp_path / "out.v2"
    assert stylize_video(tmp_path / "in", out, lambda frame: frame, steadiness=Steadiness(blend=0)) == 3
    means = [float(frame.mean()) for _, frame in open_frames(out)]
    np.testing.assert_allclose(means, [0, 0.25, 0.5], atol=0.01)


def test_an_error_half_way_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: video files are not tested")
    for number in range(3):
        write_picture(Picture(scene(number)), tmp_path / "in" / f"{number}.png")

    def breaks(frame: np.ndarray) -> np.ndarray:
        raise BadPicture("broken")

    out = tmp_path / "out.mp4"
    out.write_bytes(b"what was there")
    with pytest.raises(BadPicture, match="broken"):
        stylize_video(tmp_path / "in", out, breaks)
    assert out.read_bytes() == b"what was there"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in", "out.mp4"]


def test_bad_videos_are_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: video files are not tested")
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty").mkdir()
    for path in (garbage, tmp_path / "none.mp4", tmp_path / "empty"):
        with pytest.raises(BadPicture, match=rf"{path.name}.*accepted"):
            open_frames(path)
    with pytest.raises(BadPicture, match=r"ending '.avi9'"):
        open_sink(tmp_path / "out.avi9", Fraction(25))
    with pytest.raises(BadPicture, match="is what is read"):
        stylize_video(tmp_path / "empty", tmp_path / "empty", lambda frame: frame)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"fairlead-stylization\[video\]"):
        open_frames(tmp_path / "clip.mp4")
