"""A model that is opened when it is first needed: most instances of a store never embed a text."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .encoder import EmbeddingUnavailable, Floats
from .model import EmbeddingModel, open_model


class LazyModel:
    """Opens one model, once. Any number of threads may call.

    Args:
        name: a model's name or the absolute path of its folder; None: there is none.
    """

    def __init__(self, name: str | None) -> None:
        self.name = name
        self._model: EmbeddingModel | None = None
        self._lock = threading.Lock()

    @property
    def opened(self) -> bool:
        """Whether its weights are in memory."""
        return self._model is not None

    def dim(self) -> int:
        """Dimensions of its vectors; raises EmbeddingUnavailable."""
        return self._opened().dim

    def embed(self, texts: Sequence[str | None]) -> Floats:
        """Return the vectors [n, dim] of texts; raises EmbeddingUnavailable, also for a row without text."""
        missing = next((row for row, text in enumerate(texts) if not text), None)
        if missing is not None:
            raise EmbeddingUnavailable(f"texts: row {missing} is empty; accepted: a text in each, or vectors")
        return self._opened().embed([text or "" for text in texts])

    def _opened(self) -> EmbeddingModel:
        if self.name is None:
            raise EmbeddingUnavailable("this workload has no embedding model; accepted: vectors (or config.embedding)")
        with self._lock:
            if self._model is None:
                self._model = open_model(self.name)
            return self._model
