"""Different results of the shipped network, by the search for smooth perturbations (torch)."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSetting, MissingExtra
from ..stylizer import style_pixels
from ..transform.colours import with_colours_of
from .form import Asked

F32 = NDArray[np.float32]


class Searcher:
    """Looks for different results of a network; it is loaded when it is first asked for.

    Args:
        weights: safetensors of the network.
        variant: its size.
        clip: folder of a CLIP, for texts.
    """

    def __init__(self, weights: Path, variant: str, clip: Path | None = None) -> None:
        self._weights, self._variant, self._clip = weights, variant, clip
        self._student: Any = None
        self._space: Any = None
        self._lock = Lock()

    def __call__(
        self, content: F32, style: F32, asked: Asked, towards: F32 | None = None
    ) -> tuple[F32, dict[str, Any]]:
        """Results [count, height, width, 3] and what they are like.

        Raises:
            BadCheckpoint: the network's weights or the CLIP cannot be used.
            BadSetting: a text, and no CLIP to read it.
            MissingExtra: without torch, or for a text without transformers.
        """
        with self._lock:
            student = self._loaded()
            space = self._space_for(asked.text)
        import torch

        from ..diversity.report import diversity
        from ..diversity.request import Search
        from ..diversity.search import search

        picture, look = _tensor(content), _tensor(style_pixels(style))
        share = torch.full((1,), asked.strength)

        def generate(pictures: torch.Tensor) -> torch.Tensor:
            count = len(pictures)
            made = student(_padded(pictures), look.expand(count, -1, -1, -1), share.expand(count))
            return made[..., : pictures.shape[2], : pictures.shape[3]].clamp(0, 1)

        wanted = Search(count=asked.diverse, bound=asked.bound, seed=asked.seed)
        with torch.no_grad():
            plain = generate(picture)
        features = _even(student.encoder)
        objective = _objective(features, plain, asked, towards, space)
        found = search(generate, picture, objective, wanted)
        made = found.results.permute(0, 2, 3, 1).numpy()
        if asked.keep_colours:
            made = np.stack([with_colours_of(one, content) for one in made])
        report = {"seed": asked.seed, "bound": asked.bound, "steps": wanted.steps, "objective": list(found.objective)}
        if len(made) > 1:
            report["diversity"] = diversity(found.results, features, look).as_json()
        return made, report

    def _space_for(self, text: str) -> Any:
        if not text:
            return None
        if self._clip is None:
            raise BadSetting(f"text {text!r}; accepted: none, where no CLIP's folder is set (`clip`, or --clip)")
        if self._space is None:
            from ..diversity.text import ClipSpace

            self._space = ClipSpace(self._clip)
        return self._space

    def _loaded(self) -> Any:
        if self._student is None:
            try:
                import torch  # noqa: F401
            except ImportError as error:
                raise MissingExtra("Looking for different results", "torch") from error
            from ..checkpoints.files import fill, read_tensors
            from ..networks.student import SHAPES, Student

            student = Student(SHAPES[self._variant])
            names = {name: name for name in student.state_dict()}
            fill(student, read_tensors(self._weights), names, self._weights)
            self._student = student.eval().requires_grad_(False)
        return self._student


def _objective(features: Any, plain: Any, asked: Asked, towards: F32 | None, space: Any) -> Any:
    """What is wanted: near a picture, along a text's direction, and, of several, far from each other."""
    from ..diversity.objectives import Along, Spread, Towards

    parts: list[Any] = []
    if towards is not None:
        parts.append(Towards(features, _tensor(towards)))
    if space is not None:
        parts.append(Along(space, plain, space.direction(asked.text, asked.text_from)))
    if asked.diverse > 1 or not parts:
        parts.append(Spread(features, plain))
    return parts[0] if len(parts) == 1 else lambda results: sum(part(results) for part in parts)


def _tensor(picture: F32) -> Any:
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    return _padded(tensor) if min(tensor.shape[2:]) < 40 else tensor


def _padded(pictures: Any) -> Any:
    """Repeated at the right and below to sides that are multiples of 8, and at least 40."""
    from torch.nn import functional

    height, width = pictures.shape[2:]
    wanted = [max(40, -(-side // 8) * 8) for side in (height, width)]
    return functional.pad(pictures, (0, wanted[1] - width, 0, wanted[0] - height), mode="replicate")


def _even(encoder: Any) -> Any:
    def features(pictures: Any) -> Any:
        return encoder(_padded(pictures))

    return features
