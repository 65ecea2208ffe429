"""Importing light modules, and seeing to it that they are light."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from fairlead_agent.plugin.errors import PluginUnavailable

#: How long a module that is missing from a plugin's own package is given to appear: the package may be being replaced.
INSTALLING_S = 0.5

#: Threads that forget what finders have cached would delete the same entries, and fail.
_FORGETTING = threading.Lock()

#: Packages that a light module must not pull in: each costs the agent tens of MiB, or starts threads of its own.
HEAVY = frozenset(
    (
        *("torch", "torchvision", "tensorflow", "jax", "jaxlib", "numpy", "scipy", "pandas", "sklearn", "numba"),
        *("triton", "onnx", "onnxruntime", "transformers", "tokenizers", "safetensors", "gguf", "faiss", "cv2", "PIL"),
        *("starlette", "fastapi", "uvicorn", "aiohttp", "flask", "django", "sqlalchemy", "requests", "httpx", "grpc"),
        *("matplotlib", "boto3", "fairlead_kernels"),
    )
)


class HeavyImports(MetaPathFinder):
    """While in force, notes which heavy packages this thread imports; other threads' imports are their own."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._looked_for: set[str] = set()

    def __enter__(self) -> HeavyImports:
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> None:
        """Take note and let the other finders find it."""
        if fullname in HEAVY and threading.get_ident() == self._thread:
            self._looked_for.add(fullname)

    def found(self) -> list[str]:
        """What was imported; what was only looked for does not count."""
        return sorted(self._looked_for & sys.modules.keys())


def load_target(target: str, sys_path: Iterable[Path] = ()) -> Any:
    """Import the object that ``module:object`` names.

    Raises:
        PluginUnavailable: the module cannot be imported, is another than the plugin's, or has no such object.
    """
    name, _, attribute = target.partition(":")
    module = _import(name, tuple(sys_path))
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise PluginUnavailable(f"{target}: the module has no {attribute!r}") from None


def load_light(target: str, sys_path: Iterable[Path] = ()) -> Any:
    """As :func:`load_target`, for the light module.

    Raises:
        PluginUnavailable: as there, or importing it pulled in something heavy.
    """
    with HeavyImports() as heavy:
        found = load_target(target, sys_path)
    if pulled_in := heavy.found():
        raise PluginUnavailable(f"{target}: importing it pulled in {', '.join(pulled_in)}, which only a worker may")
    return found


def _import(name: str, sys_path: tuple[Path, ...]) -> ModuleType:
    roots = [str(root) for root in sys_path]
    # At the end: a plugin's folder must not shadow what is installed.
    sys.path.extend(root for root in roots if root not in sys.path)
    try:
        module = _import_patiently(name)
    except Exception as error:
        raise PluginUnavailable(f"{name}: cannot be imported: {type(error).__name__}: {error}") from error
    file = getattr(module, "__file__", None) or ""
    if roots and not any(Path(file).is_relative_to(root) for root in roots):
        raise PluginUnavailable(f"{name}: was imported from {file}, not from {', '.join(roots)}; rename the package")
    return module


def _forget_what_was_found() -> None:
    with _FORGETTING:
        importlib.invalidate_caches()


def _import_patiently(name: str) -> ModuleType:
    """Import; once more a moment later where a module of the same package was missing: it may be being installed."""
    _forget_what_was_found()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
    time.sleep(INSTALLING_S)
    _forget_what_was_found()
    return importlib.import_module(name)
