"""What goes wrong with a model's files or with a request, each as one clear error."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def shown(value: object) -> str:
    """Return a short representation of a value for an error message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def clipped(text: str, longest: int = 120) -> str:
    """Return a text that comes from a file, cut where it is too long for an error message."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


class LanguageModelError(ValueError):
    """Base of every error that this package raises about a model's files or its use."""


class ConfigError(LanguageModelError):
    """A model's configuration cannot be used: names the file, the field, its value and what is accepted."""

    def __init__(self, file: Path | str, field: str, value: object, accepted: str) -> None:
        super().__init__(f"{file}: field {clipped(field)} = {shown(value)}: accepted: {accepted}")
        self.file, self.field, self.value, self.accepted = str(file), field, value, accepted


class CheckpointError(LanguageModelError):
    """A checkpoint's file is damaged, incomplete or of an unknown kind: names the file and the tensor."""

    def __init__(self, file: Path | str, reason: str, tensor: str | None = None) -> None:
        where = f"{file}: tensor {clipped(tensor)}" if tensor is not None else f"{file}"
        super().__init__(f"{where}: {clipped(reason, 400)}")
        self.file, self.reason, self.tensor = str(file), reason, tensor


class TokenizerError(LanguageModelError):
    """A tokenizer's file cannot be used, or a token id lies outside its vocabulary."""


class ChatTemplateError(LanguageModelError):
    """A chat template is missing, malformed, or refuses these messages."""


class GrammarError(LanguageModelError):
    """A form that an answer was to have cannot be read or followed: names the request's field and the mistake."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {' '.join(reason.split())}")
        self.field, self.reason = field, reason


class GrammarUnavailable(LanguageModelError):
    """The library that follows grammars is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "answers of a given form need the library llguidance where the model runs; "
            "install it with `pip install 'fairlead-language-model[grammar]'`"
        )


class OutOfPages(LanguageModelError):
    """The page arena has too few free pages for a reservation; nothing was changed."""

    def __init__(self, wanted: int, free: int) -> None:
        super().__init__(f"{wanted} KV pages wanted, {free} free")
        self.wanted, self.free = wanted, free


def one_of(names: Iterable[str]) -> str:
    """Return accepted names as text for an error message."""
    return "one of " + ", ".join(sorted(names))
