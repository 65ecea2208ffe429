"""What can go wrong here, by name."""

from __future__ import annotations


class ElasticServingError(Exception):
    """Base of this plugin's errors."""


class OutOfPages(ElasticServingError):
    """Fewer pages are free than asked for; nothing was changed."""

    def __init__(self, wanted: int, free: int) -> None:
        super().__init__(f"{wanted} pages are asked for and {free} are free")
        self.wanted = wanted
        self.free = free


class IntegrityError(ElasticServingError):
    """Pages are lost, shared by mistake, or counted wrongly: a bug, never a consequence of a request."""


class MissingBackend(ElasticServingError, ImportError):
    """Kernels were imported whose library is not installed."""


class ModelUnsupported(ElasticServingError):
    """The checkpoint is sound, but a part of this model is not computed here: names the part."""

    def __init__(self, part: str, architecture: str) -> None:
        super().__init__(f"architecture {architecture!r} has {part}; accepted: models without it")
        self.part = part


class MicrobatchLost(ElasticServingError):
    """A microbatch was not computed, as an instance that computes a part of it is gone.

    Attributes:
        names: requests whose keys and values are lost with it, wholly or in part.
    """

    def __init__(self, reason: str, names: frozenset[str] = frozenset()) -> None:
        super().__init__(reason)
        self.names = names
