"""Which requests compute which tokens in the next step, and whose pages are given up for it. No I/O, no clock."""

from .requests import Request, Scheduled, Step, SwapIn, SwapOut
from .scheduler import Scheduler, Settings

__all__ = ["Request", "Scheduled", "Scheduler", "Settings", "Step", "SwapIn", "SwapOut"]
