"""A radio that is opened again after it was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fairlead_bridge.radio.radio import Radio, RadioConfiguration, RadioLost
from fairlead_bridge.reading import Missing

if TYPE_CHECKING:
    from fairlead_bridge.radio.radio import Samples

T = TypeVar("T")
Opener = Callable[[], "Radio | Missing"]


class RecoveringRadio:
    """A ``Radio`` over another one that ``open_radio`` opens, now and again after each loss.

    A call that finds the radio gone raises ``RadioLost``; calls within ``retry_s`` after that fail at once, the next
    one opens it anew. Its time starts at 0 again then; ``losses`` counts.
    """

    def __init__(
        self,
        open_radio: Opener,
        configuration: RadioConfiguration,
        *,
        retry_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.configuration = configuration
        self.losses = 0
        self._open = open_radio
        self._retry_s = retry_s
        self._clock = clock
        self._radio: Radio | None = None
        self._reason = "it was not opened yet"
        self._next_try_s = clock()

    def transmit(self, samples: Samples) -> None:
        """See ``Radio``."""
        self._guarded(lambda radio: radio.transmit(samples))

    def receive(self, count: int) -> Samples:
        """See ``Radio``."""
        return self._guarded(lambda radio: radio.receive(count))

    def close(self) -> None:
        """Give the device back; a later call would open it again."""
        if self._radio is not None:
            self._radio.close()
            self._radio = None

    def _guarded(self, call: Callable[[Radio], T]) -> T:
        radio = self._opened()
        try:
            return call(radio)
        except RadioLost as error:
            self.losses += 1
            self.close()
            self._postpone(str(error))
            raise

    def _opened(self) -> Radio:
        if self._radio is not None:
            return self._radio
        if self._clock() < self._next_try_s:
            raise RadioLost(f"the radio is gone ({self._reason}), and is not looked for yet")
        found = self._open()
        if isinstance(found, Missing):
            self._postpone(str(found))
            raise RadioLost(f"the radio is gone: {found}")
        self._radio = found
        self.configuration = found.configuration
        return found

    def _postpone(self, reason: str) -> None:
        self._reason = reason
        self._next_try_s = self._clock() + self._retry_s
