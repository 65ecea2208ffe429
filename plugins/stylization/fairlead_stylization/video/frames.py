"""Frames of a video file or of a folder of pictures, one at a time; what is written is of the same kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture, MissingExtra
from ..pictures import Limits, Picture, read_picture, write_picture
from ..pictures.folders import list_folder
from ..pictures.writing import ENDINGS

F32 = NDArray[np.float32]
Kind = type[BaseException] | None
#: By ending: container and codec. MPEG-4 is in every build of FFmpeg; H.264 is taken where the build has it.
CODECS = {
    ".mp4": ("libx264", "mpeg4"),
    ".mkv": ("libx264", "mpeg4"),
    ".mov": ("libx264", "mpeg4"),
    ".webm": ("libvpx-vp9",),
}
_FOLDER_PICTURES = frozenset(ENDINGS)


class Frames(Protocol):
    """Frames in order.

    Attributes:
        count: how many there are; None where the file does not say.
        rate: frames a second.
    """

    count: int | None
    rate: Fraction

    def __iter__(self) -> Iterator[tuple[str, F32]]:
        """Name and pixels float32 [height, width, 3] of each."""
        ...


class Sink(Protocol):
    """Takes stylized frames; leaving its context finishes them, an error in it removes what is not whole."""

    def add(self, name: str, frame: F32) -> None:
        """Take the next frame."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_frames(path: Path, *, limits: Limits | None = None) -> Frames:
    """Open a folder of pictures, in the order of their names, or a video file; raises BadPicture."""
    if path.is_dir():
        return FolderFrames(path, limits or Limits())
    return VideoFrames(path, limits or Limits())


def open_sink(path: Path, rate: Fraction, *, sound: Path | None = None, folder: bool = False) -> Sink:
    """Open a video file by its ending, or a folder (anything without an ending); raises BadPicture.

    Args:
        path: of it.
        rate: frames a second.
        sound: a video file whose sound goes along, as it is; a folder has none.
        folder: what is no ending of a video is part of a folder's name.
    """
    if path.suffix.lower() in CODECS or (path.suffix and not folder):
        return VideoSink(path, rate, sound if sound is not None and sound.is_file() else None)
    return FolderSink(path)


def pyav() -> ModuleType:
    """Return PyAV; raises MissingExtra where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise MissingExtra("Reading and writing video files", "video") from error
    return av


class FolderFrames:
    """Pictures of a folder."""

    rate = Fraction(25)

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._paths = list_folder(path, _FOLDER_PICTURES).paths
        if not self._paths:
            raise BadPicture(f"{path}: no picture in it; accepted: a folder with {', '.join(sorted(_FOLDER_PICTURES))}")
        self.count: int | None = len(self._paths)

    def __iter__(self) -> Iterator[tuple[str, F32]]:
        for path in self._paths:
            yield path.stem, read_picture(path, limits=self._limits).pixels


class VideoFrames:
    """Frames of a video file's first video stream."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits, self._av = path, limits, pyav()
        with self._open() as container:
            stream = self._stream(container)
            self.rate = Fraction(stream.average_rate or 25)
            self.count: int | None = stream.frames or None
            if (stream.width or 0) * (stream.height or 0) > limits.pixels:
                raise BadPicture(
                    f"{path}: frames of {stream.width}x{stream.height}; accepted: {limits.pixels} pixels at most"
                )

    def __iter__(self) -> Iterator[tuple[str, F32]]:
        with self._open() as container:
            number = 0
            try:
                for frame in container.decode(self._stream(container)):
                    pixels = upright(frame.to_ndarray(format="rgb24"), int(getattr(frame, "rotation", 0)))
                    yield f"{number:06d}", pixels.astype(np.float32) / np.float32(255)
                    number += 1
            except self._av.FFmpegError as error:
                raise BadPicture(
                    f"{self._path}: frame {number} cannot be decoded ({error}); accepted: a whole file"
                ) from error
        if number == 0:
            raise BadPicture(f"{self._path}: no frame in it; accepted: a video with one and more")

    def _open(self) -> Any:
        try:
            return self._av.open(str(self._path))
        except (OSError, ValueError) as error:  # FFmpegError is both, by kind
            raise BadPicture(f"{self._path}: cannot be opened ({error}); accepted: a video file or a folder") from error

    def _stream(self, container: Any) -> Any:
        if not container.streams.video:
            raise BadPicture(f"{self._path}: no video stream; accepted: a video file or a folder of pictures")
        return container.streams.video[0]


def upright(pixels: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """A frame [height, width, 3] turned counterclockwise to the nearest quarter, as telephones say of portraits."""
    return np.ascontiguousarray(np.rot90(pixels, round(degrees / 90)))


class FolderSink:
    """Writes each frame as PNG."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, name: str, frame: F32) -> None:
        """Write a frame; it is there at once."""
        write_picture(Picture(frame), self._path / f"{name}.png")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Frames that were written stay, whatever happened."""


class VideoSink:
    """Writes a video file beside its place, and puts it there when it is whole."""

    def __init__(self, path: Path, rate: Fraction, sound: Path | None = None) -> None:
        if path.suffix.lower() not in CODECS:
            raise BadPicture(f"{path}: ending {path.suffix!r}; accepted: {', '.join(CODECS)}, or a folder")
        self._av = pyav()
        self._codec = _codec(self._av, path)
        self._path, self._rate, self._sound_path = path, rate, sound
        self._sound: tuple[Any, Any, Any] | None = None
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._closing = ExitStack()
        self._stream: Any = None
        self._container: Any = None
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._closing.enter_context(self._av.open(str(self._partial), "w"))
        return self

    def add(self, name: str, frame: F32) -> None:
        """Encode a frame of the first one's size; an odd row or column is repeated, as codecs want even ones."""
        if self._size is None:
            self._size = frame.shape[:2]
            self._start(*frame.shape[:2])
        elif frame.shape[:2] != self._size:
            raise BadPicture(
                f"frame {name}: {frame.shape[1]}x{frame.shape[0]}; accepted: {self._size[1]}x{self._size[0]}"
            )
        even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        pixels = (np.clip(even, 0, 1) * 255 + 0.5).astype(np.uint8)
        self._write(self._av.VideoFrame.from_ndarray(pixels, format="rgb24"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._stream is not None:
                self._write(None)
                self._write_sound()
            self._closing.close()
            if error is None and self._stream is not None:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)

    def _start(self, height: int, width: int) -> None:
        self._stream = self._container.add_stream(self._codec, rate=self._rate)
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        if self._codec == "mpeg4":
            self._stream.bit_rate = max(2_000_000, height * width * 8)
        if self._sound_path is not None:
            self._add_sound(self._sound_path)

    def _add_sound(self, path: Path) -> None:
        container = self._closing.enter_context(self._av.open(str(path)))
        if not container.streams.audio:
            return
        there = container.streams.audio[0]
        if there.codec_context.name not in self._container.supported_codecs:
            return  # this kind of file cannot carry it
        self._sound = (container, there, self._container.add_stream_from_template(there))

    def _write_sound(self) -> None:
        if self._sound is None:
            return
        container, there, here = self._sound
        for packet in container.demux(there):
            if packet.dts is not None:
                packet.stream = here
                self._container.mux(packet)

    def _write(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def _codec(av: ModuleType, path: Path) -> str:
    for name in CODECS[path.suffix.lower()]:
        if name in av.codecs_available:
            return name
    raise BadPicture(
        f"{path}: this build of FFmpeg writes no {path.suffix}; accepted: {', '.join(CODECS)}, or a folder"
    )
