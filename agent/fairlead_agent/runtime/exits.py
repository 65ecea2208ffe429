"""How a worker host ends: its exit codes, shared by the host and its supervisor."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes (those of sysexits.h where one fits)."""

    STOPPED = 0
    BAD_SPEC = 64
    MISSING_EXTRA = 69
    PLUGIN_FAILED = 70
    SOCKET_FAILED = 73
    LEASE_EXPIRED = 75
    ORPHANED = 76
