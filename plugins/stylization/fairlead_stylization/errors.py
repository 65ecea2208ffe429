"""What can go wrong here, by name."""

from __future__ import annotations

from pathlib import Path


class StylizationError(ValueError):
    """Base of this plugin's errors: the message names the field, the value and what is accepted."""


class BadPicture(StylizationError):
    """A picture, mask or set of features that cannot be stylized."""


class BadSetting(StylizationError):
    """A strength, weight, size or name that is not accepted."""


class BadCheckpoint(StylizationError):
    """A file of weights that is not what its format says, or whose numbers cannot be used.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)


class MissingExtra(StylizationError, ImportError):
    """A part that needs a package which is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more packages: pip install 'fairlead-stylization[{extra}]'")
        self.extra = extra
