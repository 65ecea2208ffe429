"""structlog without rich and greenlet.

structlog's development console imports rich where it is installed: 5 MiB and 70 ms, for tracebacks in colour that an
agent or a worker never shows. Its thread-local context imports greenlet where that is installed (with SQLAlchemy, say):
1.5 MiB, for contexts that are not used here. Import structlog from here where its import must stay light; it has no
effect when either was imported before.
"""

from __future__ import annotations

import sys

_held_out = [name for name in ("rich", "rich.console", "rich.traceback", "greenlet") if name not in sys.modules]
if "structlog" in sys.modules:
    _held_out = []

for _name in _held_out:
    # None in sys.modules makes an import raise ImportError, which structlog expects of an absent rich.
    sys.modules[_name] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    for _name in _held_out:
        sys.modules.pop(_name, None)

__all__ = ["structlog"]
