"""Devices that compute the hot neurons of a model, behind one interface; see docs/accelerators.md."""

from .interface import Accelerator, AcceleratorUnavailable, HotNeurons
from .opening import KINDS, open_accelerator, why_not

__all__ = ["KINDS", "Accelerator", "AcceleratorUnavailable", "HotNeurons", "open_accelerator", "why_not"]
