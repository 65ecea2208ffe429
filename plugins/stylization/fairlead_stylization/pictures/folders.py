"""What of a folder is read, and what is passed over; kinds of pictures that are known, but not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from .writing import ENDINGS

#: Of pictures that are read.
READ = (*ENDINGS, ".gif", ".ppm", ".pgm", ".pbm", ".pnm")
#: Of pictures that are trained on.
TRAINED = (".jpg", ".jpeg", ".png", ".webp")
#: Brands of ISO base media files (ISO/IEC 14496-12), by what they hold.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIC")
_BEGINNINGS = {
    b"\xff\x0a": "JPEG XL", b"\x00\x00\x00\x0cJXL ": "JPEG XL", b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"8BPS": "a Photoshop file", b"%PDF": "PDF", b"<svg": "SVG", b"<?xml": "XML or SVG",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of a folder.

    Attributes:
        folder: where they are.
        paths: of those with endings that were asked for, sorted.
        others: how many there are of each other ending.
    """

    folder: Path
    paths: tuple[Path, ...]
    others: Counter[str]

    @property
    def counted(self) -> str:
        """The other endings in words, such as "3 .heic, 1 .txt"; "" where there is none."""
        return ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in sorted(self.others.items()))


def list_folder(folder: Path, endings: Collection[str] = READ, *, within: bool = False) -> Listing:
    """List a folder's files by endings; names that begin with a dot are what systems keep beside files.

    Args:
        folder: to be listed.
        endings: of files that are wanted, lower case.
        within: also files of folders in it.
    """
    found = sorted(folder.rglob("*") if within else folder.iterdir())
    shown = [path for path in found if not path.name.startswith(".") and path.is_file()]
    wanted = tuple(path for path in shown if path.suffix.lower() in endings)
    return Listing(folder, wanted, Counter(path.suffix.lower() for path in shown if path.suffix.lower() not in endings))


def passed_over(listings: Iterable[Listing], accepted: str) -> list[str]:
    """A line for each folder that holds what is not read."""
    return [f"{one.folder}: passed over: {one.counted}; accepted: {accepted}" for one in listings if one.others]


def unread_kind(content: bytes) -> str:
    """What a file is, by its first bytes, of the kinds that are known and not read; "" for all others."""
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "a video or picture in ISO media")
    return next((kind for beginning, kind in _BEGINNINGS.items() if content.startswith(beginning)), "")
