"""A scene's visual prompt, fitted where the command runs (torch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSetting, MissingExtra
from ..pictures import read_picture
from ..stylizer import style_pixels
from .looks import Look, Stylist

if TYPE_CHECKING:
    from ..scenes.camera import Camera
    from ..scenes.pattern import Pattern
    from ..scenes.scene import Scene

F32 = NDArray[np.float32]
#: Views that the fitting may look at, of all that are rendered.
LOOKED_AT = 8


def fitted_prompt(
    stylist: Stylist,
    look: Look,
    scene: Scene,
    pattern: Pattern,
    cameras: Sequence[Camera],
    steps: int,
    progress: Callable[[int, float], None],
) -> F32:
    """What is added to a scene's atlas before it is stylized, float32 [height, width, 3].

    Raises:
        BadSetting: several styles, or weights that are not here.
        MissingExtra: torch is not installed.
    """
    if len(look.styles) > 1:
        raise BadSetting(f"--style: {len(look.styles)} of them with --prompt; accepted: one")
    try:
        import torch
    except ImportError as problem:
        raise MissingExtra("Fitting a prompt", "torch") from problem
    from ..diversity.generators.stylization import StyleTransfer
    from ..networks.running import read_student
    from ..scenes.prompt import PromptFitting, fit_prompt
    from ..scenes.splatting import splat

    style = style_pixels(read_picture(look.styles[0], name="style").pixels)
    tensor = torch.from_numpy(np.ascontiguousarray(style.transpose(2, 0, 1)[None]))
    transfer = StyleTransfer(read_student(stylist.weights()).requires_grad_(False), tensor, look.strength)
    views = [splat(scene, camera) for camera in cameras[:: max(1, len(cameras) // LOOKED_AT)]]
    return fit_prompt(scene, pattern, views, transfer, transfer.features, tensor, PromptFitting(steps), progress)
