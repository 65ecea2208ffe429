"""Pictures from files and requests, and back: what is taken, what is converted, and what is refused."""

from .masks import read_mask
from .picture import Limits, Picture
from .reading import read_picture
from .writing import encode_picture, write_file, write_picture

__all__ = ["Limits", "Picture", "encode_picture", "read_mask", "read_picture", "write_file", "write_picture"]
