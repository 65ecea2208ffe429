"""Triton's interpreter beside a recent NumPy.

Triton 3.6 turns one-element arrays to loop bounds with int(), which NumPy 2.4 refuses for arrays that have an axis.
"""

from __future__ import annotations

import os
from typing import Any


def interpreted() -> bool:
    """Return whether kernels are interpreted rather than compiled; this is decided before they are imported."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def repair() -> None:
    """Let loop bounds be read from one-element arrays of any shape; does nothing where nothing is interpreted."""
    if not interpreted():
        return
    from triton.runtime import interpreter

    original = getattr(interpreter, "_patch_lang_tensor", None)
    if original is None or getattr(original, "repaired", False):
        return

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patched.repaired = True  # type: ignore[attr-defined]
    interpreter._patch_lang_tensor = patched
