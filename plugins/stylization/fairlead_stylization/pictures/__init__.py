"""Pictures from files and requests, and back: what is taken, what is converted, and what is refused."""

from .masks import read_mask
from .picture import Limits, Picture, Stored, floats
from .reading import pixels_of, read_picture, read_stored
from .writing import Canvas, encode_picture, write_file, write_picture

__all__ = [
    "Canvas",
    "Limits",
    "Picture",
    "Stored",
    "encode_picture",
    "floats",
    "pixels_of",
    "read_mask",
    "read_picture",
    "read_stored",
    "write_file",
    "write_picture",
]
