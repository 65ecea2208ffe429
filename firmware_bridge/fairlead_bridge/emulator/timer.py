"""A timer of the kernel as a file: epoll alone waits in whole milliseconds. Layout of timerfd_create(2)."""

from __future__ import annotations

import ctypes
import math
import os
import struct

_MONOTONIC = 1
_FLAGS = 0o4000 | 0o2000000  # TFD_NONBLOCK | TFD_CLOEXEC
_ABSOLUTE = 1


class Timer:
    """Readable from a time of ``time.monotonic`` on; to be closed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = _checked(self._library.timerfd_create(_MONOTONIC, _FLAGS))

    def set(self, at_s: float | None) -> None:
        """Fire at this time (at once where it is past); None: never."""
        if at_s is None:
            value = bytes(32)
        else:
            nanoseconds = max(1, math.ceil(at_s * 1e9))
            value = struct.pack("=qqqq", 0, 0, *divmod(nanoseconds, 10**9))
        _checked(self._library.timerfd_settime(self.descriptor, _ABSOLUTE, value, None))

    def clear(self) -> None:
        """Not readable any more, until it fires again."""
        try:
            os.read(self.descriptor, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
