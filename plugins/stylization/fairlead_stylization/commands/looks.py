"""Who stylizes for a command: the fleet's workload, or the network in this process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_agent.cli.api_client import find_client
from fairlead_agent.cli.errors import CliError

from ..client import StyleClient
from ..diversity.request import BOUND
from ..errors import BadPicture, BadSetting
from ..pictures import encode_picture, read_mask, read_picture
from ..pictures.picture import Picture
from ..service.form import PLAIN, Asked
from ..stylizer import Style, Stylizer, finished, looked_at, whole

if TYPE_CHECKING:
    from ..networks.refining import StyleSlope

F32 = NDArray[np.float32]
PLUGIN = "stylization"


@dataclass(frozen=True, slots=True)
class Look:
    """What is asked of each picture.

    Attributes:
        styles: encoded pictures.
        weights: of them; none: all alike.
        strength, keep_colours: as of a stylizer.
        mask: an encoded picture.
    """

    styles: tuple[bytes, ...]
    weights: tuple[float, ...] = ()
    strength: float = 1.0
    keep_colours: bool = False
    mask: bytes | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What results are looked for.

    Attributes:
        count: of them.
        seed: the same one gives the same results.
        towards: an encoded picture that they shall come nearer to.
        text, text_from: what they shall come nearer to in words, and what they are to begin with.
    """

    count: int = 1
    seed: int = 0
    towards: bytes | None = None
    text: str = ""
    text_from: str = PLAIN

    @property
    def searched(self) -> bool:
        """Whether results are looked for, and not the plain one."""
        return self.count > 1 or self.towards is not None or bool(self.text)


class Stylist(Protocol):
    """Stylizes for a command."""

    def one(self, content: bytes | F32, look: Look) -> F32:
        """A picture, encoded or float32 [height, width, 3], in a look."""
        ...

    def several(self, content: bytes, look: Look, wanted: Wanted) -> tuple[Iterable[F32], dict[str, Any]]:
        """Results that are looked for, and a report of them."""
        ...

    def weights(self) -> Path:
        """The network's file, for what is fitted in this process; raises BadSetting if it is not here."""
        ...

    def close(self) -> None:
        """End."""
        ...


class InFleet:
    """By the gateway."""

    def __init__(self, client: StyleClient) -> None:
        self._client = client

    def one(self, content: bytes | F32, look: Look) -> F32:
        """See `Stylist`."""
        return self._client.stylize(content, look.styles, weights=look.weights, mask=look.mask, **_fields(look))

    def several(self, content: bytes, look: Look, wanted: Wanted) -> tuple[Iterable[F32], dict[str, Any]]:
        """See `Stylist`."""
        words = {"text": wanted.text, "text_from": wanted.text_from} if wanted.text else {}
        return self._client.several(
            content, look.styles, wanted.count, mask=look.mask, towards=wanted.towards, seed=wanted.seed,
            **words, **_fields(look),
        )  # fmt: skip

    def weights(self) -> Path:
        """See `Stylist`."""
        from ..networks.running import shipped_stylizer, student_file

        told = self._client.status()
        variant, digest = str(told["variant"]), told["weights"]
        if shipped_stylizer(variant).weights_digest != digest:
            raise BadSetting("--prompt: the workload has weights of its own; accepted: those that ship, or --local")
        return student_file(variant)

    def close(self) -> None:
        """See `Stylist`."""
        self._client.close()


class InProcess:
    """By a network that is loaded here."""

    def __init__(self, stylizer: Stylizer, weights: Path, clip: Path | None = None) -> None:
        from ..service.varied import Searcher

        self._stylizer, self._weights = stylizer, weights
        self._searcher = Searcher(weights, stylizer, clip)
        self._styles: dict[bytes, Any] = {}

    def one(self, content: bytes | F32, look: Look) -> F32:
        """See `Stylist`."""
        content = read_picture(content).pixels if isinstance(content, bytes) else content
        weights = look.weights or (1.0,) * len(look.styles)
        styles = [Style(self._code(style), weight) for style, weight in zip(look.styles, weights, strict=True)]
        mask = None if look.mask is None else read_mask(look.mask, Picture(content))
        return self._stylizer.stylize(content, styles, look.strength, mask, look.keep_colours)

    def several(self, content: bytes, look: Look, wanted: Wanted) -> tuple[Iterable[F32], dict[str, Any]]:
        """See `Stylist`."""
        asked = Asked(
            content, look.styles, look.mask, (), look.strength, look.keep_colours, wanted.count, wanted.seed, BOUND,
            "PNG", 92, wanted.towards, wanted.text, wanted.text_from,
        )  # fmt: skip
        picture, style = read_picture(content), read_picture(look.styles[0], name="style")
        towards = None if wanted.towards is None else read_picture(wanted.towards, name="towards").pixels
        mask = None if look.mask is None else read_mask(look.mask, picture)
        made, report = self._searcher(picture.pixels, style.pixels, asked, towards)
        shape = picture.pixels.shape
        return (whole(shape, (finished(picture.pixels, band, mask) for band in one)) for one in made), report

    def weights(self) -> Path:
        """See `Stylist`."""
        return self._weights

    def close(self) -> None:
        """See `Stylist`."""

    def _code(self, style: bytes) -> Any:
        if style not in self._styles:
            self._styles[style] = self._stylizer.encode_style(read_picture(style, name="style").pixels)
        return self._styles[style]


def find_stylist(
    local: bool,
    variant: str,
    workload: str | None,
    service: str | None,
    url: str | None,
    token: str | None,
    clip: Path | None = None,
) -> Stylist:
    """Return who stylizes; raises CliError where there is nobody, or several to choose from."""
    require_local(variant, local)
    if local:
        from ..networks.running import shipped_stylizer, student_file

        return InProcess(shipped_stylizer(variant), student_file(variant), clip)
    return InFleet(StyleClient(*find_service(workload, service, url, token)))


def slope_of(look: Look) -> StyleSlope | None:
    """Which way pictures come nearer to a look; None where their colours are not the style's."""
    from ..networks.running import shipped_slope

    if look.keep_colours:
        return None
    weights = look.weights or (1.0,) * len(look.styles)
    pictures = [read_picture(style, name="style").pixels for style in look.styles]
    return shipped_slope(list(zip(pictures, weights, strict=True)), look.strength)


def require_local(variant: str, local: bool) -> None:
    """Refuse a variant that a fleet would not hear of; raises BadSetting."""
    if variant != "edge" and not local:
        told = f"`constraints: {{variants: [{variant}]}}` in the workload's file"
        raise BadSetting(f"--variant {variant}: without --local; accepted: with it, or {told}")


def find_service(
    workload: str | None, service: str | None, url: str | None, token: str | None
) -> tuple[str, str | None]:
    """The address to ask and the token that it wants; raises CliError where there is none, or several."""
    if service:
        return service.rstrip("/"), token
    try:
        gateway = find_client(url, token)
    except CliError as error:
        raise CliError(f"{error.message}; `--local` needs no fleet") from None
    name = workload or os.environ.get("FAIRLEAD_WORKLOAD") or _only(gateway.get("/api/v1/workloads"))
    return f"{gateway.url.rstrip('/')}/workloads/{name}", gateway.token


def style_bytes(path: Path) -> bytes:
    """A style's file, made small where networks would make it so: it goes along with each picture.

    Raises:
        BadPicture: it cannot be read.
    """
    picture = read_picture(path)
    small = looked_at(picture.pixels)
    return read_bytes(path) if small is picture.pixels else encode_picture(Picture(small))


def read_bytes(path: Path) -> bytes:
    """A file's content; raises BadPicture where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPicture(f"{path}: {error.strerror or error}; accepted: a file that can be read") from error


def _fields(look: Look) -> dict[str, Any]:
    return {"strength": look.strength, "keep_colours": look.keep_colours}


def _only(workloads: Sequence[dict[str, Any]]) -> str:
    names = [each["name"] for each in workloads if each["workload"]["plugin"] == PLUGIN]
    if len(names) == 1:
        return names[0]
    if not names:
        raise CliError("no stylization workload is there: start one with `fairlead apply stylization`, or use --local")
    raise CliError(f"there are several stylization workloads: choose one of {', '.join(names)} with --workload")
