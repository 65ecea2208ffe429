"""Which kernels run: the compiled ones where they load, else NumPy, and the reason is kept."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

ENVIRONMENT = "FAIRLEAD_KERNELS"
NATIVE = "fairlead_kernels._native"
ISAS = ("avx512vnni", "avx512", "avx2", "neon_dotprod", "neon", "plain")
CHOICES = ("native", "numpy", *ISAS)


class BackendError(RuntimeError):
    """A backend was demanded that this build or processor does not have."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What computes.

    Attributes:
        name: "native" or "numpy".
        isa: one of ISAS; NumPy counts as "plain".
        reason: why NumPy computes; empty when native does.
    """

    name: str
    isa: str
    reason: str = ""


_chosen: Backend | None = None


def _extension() -> tuple[Any | None, str]:
    # Every call of a kernel asks: what is imported already is not looked for again.
    module = sys.modules.get(NATIVE)
    if module is not None:
        return module, ""
    try:
        return importlib.import_module(NATIVE), ""
    except ImportError as error:
        return None, f"the compiled extension cannot be loaded: {error}"


def available_isas() -> tuple[str, ...]:
    """Return the ISAs whose native kernels this build has and this processor runs, best first."""
    module, _ = _extension()
    return () if module is None else tuple(module.available_isas())


def backend() -> Backend:
    """Return what computes now; chooses at the first call, by FAIRLEAD_KERNELS where it is set.

    Raises:
        BackendError: FAIRLEAD_KERNELS names something unknown or something that cannot be had here.
    """
    return _chosen or select(os.environ.get(ENVIRONMENT) or None)


def select(choice: str | None = None) -> Backend:
    """Make one of CHOICES compute from now on; None takes the best there is.

    Decoders keep the backend that they were created with; native ones follow a change of ISA.

    Raises:
        BackendError: the choice is unknown or cannot be had here.
    """
    global _chosen
    if choice is not None and choice not in CHOICES:
        raise BackendError(f"{ENVIRONMENT}: must be one of {', '.join(CHOICES)}, got {choice!r}")
    module, reason = _extension()
    if choice == "numpy":
        _chosen = Backend("numpy", "plain", "chosen by the caller or by FAIRLEAD_KERNELS")
    elif module is None:
        if choice is not None:
            raise BackendError(f"{ENVIRONMENT}={choice}: {reason}")
        _chosen = Backend("numpy", "plain", reason)
    else:
        _chosen = _select_native(module, choice)
    return _chosen


def _select_native(module: Any, choice: str | None) -> Backend:
    available: list[str] = module.available_isas()
    isa = available[0] if choice in (None, "native") else choice
    if isa not in available:
        raise BackendError(f"{ENVIRONMENT}={isa}: this build on this processor has {', '.join(available)}")
    module.select_isa(isa)
    return Backend("native", isa)


def extension() -> Any | None:
    """Return the compiled module if native kernels are the chosen backend, else None."""
    return _extension()[0] if backend().name == "native" else None


def set_threads(count: int) -> None:
    """Let native kernels compute on this many threads, the caller's included; 1 until this is called.

    Results do not depend on it. NumPy's own threads are not touched.

    Raises:
        ValueError: the count is not in 1..256.
    """
    if not 1 <= count <= 256:
        raise ValueError(f"threads: must be 1..256, got {count}")
    module = extension()
    if module is not None:
        module.set_threads(count)


def threads() -> int:
    """Return the number of threads that native kernels compute on; 1 with NumPy."""
    module = extension()
    return 1 if module is None else int(module.threads())
