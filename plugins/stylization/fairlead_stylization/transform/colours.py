"""Colours as a whole: a content's are mapped to a style's before its features are, or kept (NumPy).

The map is the linear one that moves the least colour (Pitie and Kokaram, CVMP 2007: the Monge-Kantorovitch solution for
normal distributions): afterwards the content has the style's mean colour and its covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import pixels
from fairlead_kernels.covariances import least_map

from ..pictures.picture import floats
from .strengths import of_colours

Array = NDArray[np.float32]

#: Added to variances of colours in [0, 1]: what a nearly grey picture's noise is not amplified beyond.
SMALL = 1e-3

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Colours:
    """A picture's colours: mean [3] and covariance [3, 3], for values in [0, 1]."""

    mean: Array
    covariance: Array

    @classmethod
    def of(cls, picture: Any, most: int = 65536) -> Colours:
        """Of a picture [H, W, 3] in floats or bytes, by about `most` of its pixels, evenly spaced."""
        step = max(1, int(np.sqrt(picture.shape[0] * picture.shape[1] / most)))
        return cls(*pixels.moments(floats(picture[::step, ::step])))


def colour_map(content: Colours, style: Colours, strength: float = 1.0) -> Array:
    """The map [3, 4] (matrix, then offset) of a content's colours to a style's; the identity at strength 0.

    Of its way it goes the share that `strengths.of_colours` tells.
    """
    matrix = least_map(content.covariance, style.covariance, 0.0, SMALL)
    offset = style.mean - matrix @ content.mean
    whole = np.concatenate([matrix, offset[:, None]], 1)
    share = of_colours(strength)
    return ((1 - share) * np.eye(3, 4) + share * whole).astype(np.float32)


def recoloured(picture: Array, mapping: Array) -> Array:
    """A picture [H, W, 3] under a map [3, 4]; not clipped."""
    # All pixels as the rows of one matrix: NumPy multiplies a picture's rows one by one.
    return (picture.reshape(-1, 3) @ mapping[:, :3].T + mapping[:, 3]).reshape(picture.shape)


def with_colours_of(picture: Array, content: Array) -> Array:
    """A stylized picture's luminance (ITU-R BT.601) with a content's colour differences, both [H, W, 3] in [0, 1]."""
    luminance = picture @ _LUMINANCE
    own = content @ _LUMINANCE
    return np.clip(content + (luminance - own)[..., None], 0, 1).astype(np.float32)
