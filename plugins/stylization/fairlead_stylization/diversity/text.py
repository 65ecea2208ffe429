"""Directions that texts give: CLIP (Radford et al., ICML 2021) by weights that a user has (torch, transformers)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadCheckpoint, BadSetting, MissingExtra

#: Of the pictures that CLIP was trained on.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


class ClipSpace:
    """Where pictures and texts lie beside each other.

    Args:
        folder: a CLIP as Hugging Face writes it, with the tokenizer's files; nothing is downloaded.

    Raises:
        BadCheckpoint: a file is not there, another kind of network, weights that are missing or not finite.
        MissingExtra: transformers is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        folder = Path(folder)
        self._model, self._tokenizer = _read(folder)
        self._side = int(self._model.config.vision_config.image_size)
        self._longest = int(self._model.config.text_config.max_position_embeddings)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures [n, 3, H, W] in [0, 1] -> unit vectors [n, size]; gradients reach the pictures."""
        seen = functional.interpolate(
            pictures, (self._side, self._side), mode="bicubic", antialias=True, align_corners=False
        )
        mean, deviation = (seen.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
        found = self._model.vision_model(pixel_values=(seen - mean) / deviation).pooler_output
        return functional.normalize(self._model.visual_projection(found), dim=1)

    def text(self, prompt: str) -> Tensor:
        """A text's unit vector [size]; BadSetting where it is empty."""
        if not prompt.strip():
            raise BadSetting(f"text {prompt!r}; accepted: some words")
        tokens = self._tokenizer([prompt], truncation=True, max_length=self._longest, return_tensors="pt")
        with torch.no_grad():
            found = self._model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).pooler_output
            return functional.normalize(self._model.text_projection(found), dim=1)[0]

    def direction(self, prompt: str, source: str = "a photo") -> Tensor:
        """From where one text lies to where another does, [size]; BadSetting where both lie at one place."""
        way = self.text(prompt) - self.text(source)
        if float(way.norm()) < 1e-6:
            raise BadSetting(f"text {prompt!r} and {source!r} lie at one place; accepted: texts that differ")
        return functional.normalize(way, dim=0)


def _read(folder: Path) -> tuple[Any, Any]:
    try:
        from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
        from transformers.utils import logging
    except ImportError as problem:
        raise MissingExtra("text prompts", "text") from problem
    logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        raise BadCheckpoint(folder, "no config.json; accepted: a folder with a CLIP as Hugging Face writes it")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise BadCheckpoint(folder, f"no weights; accepted: one of {', '.join(_WEIGHTS)}")
    try:
        config = CLIPConfig.from_pretrained(folder, local_files_only=True)
        model, told = CLIPModel.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as problem:
        # Whatever the files hold, the readers end in an error, of any class.
        raise BadCheckpoint(folder, f"not a CLIP that can be read: {str(problem).splitlines()[0]}") from problem
    _require_whole(folder, model, sorted(told["missing_keys"]))
    return model.eval().requires_grad_(False), tokenizer


def _require_whole(folder: Path, model: Any, missing: list[str]) -> None:
    # The reader fills in random numbers for what is missing.
    if missing:
        raise BadCheckpoint(folder, f"{missing[0]}: not in its weights; accepted: all of a CLIP's")
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BadCheckpoint(folder, f"{name}: holds NaN or infinite numbers; accepted: finite ones")
