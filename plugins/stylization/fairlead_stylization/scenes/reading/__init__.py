"""Scenes from files: meshes, coloured points and Gaussians, posed RGB-D, radiance fields."""

from .opening import read_scene

__all__ = ["read_scene"]
