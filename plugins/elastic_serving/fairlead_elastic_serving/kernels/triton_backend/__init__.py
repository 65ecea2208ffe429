"""The kernels in Triton, for CUDA devices; with TRITON_INTERPRET=1 also on a processor, for tests.

Importing this package, or any module of it, raises `MissingBackend` where torch or triton is not installed (the extra
``triton``); a device is not looked for.
"""

from __future__ import annotations

from importlib.util import find_spec

from ...errors import MissingBackend


def _require(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingBackend(
            f"the Triton kernels need {' and '.join(packages)}; missing: {', '.join(missing)}; "
            "install on Linux with: pip install 'fairlead-elastic-serving[triton]'"
        )


_require("torch", "triton")
