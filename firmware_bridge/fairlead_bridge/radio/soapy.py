"""Radios that SoapySDR drives, where its Python module and a device are there; needs numpy too.

The module comes with the system (Debian: ``python3-soapysdr``), not from PyPI. Numbers are those of SoapySDR 0.8.
"""

from __future__ import annotations

import importlib
import math
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fairlead_bridge.radio.radio import RadioConfiguration, RadioError, RadioLost
from fairlead_bridge.reading import Missing

if TYPE_CHECKING:
    from fairlead_bridge.radio.samples import Complex

_TRANSMIT, _RECEIVE, _FORMAT = 0, 1, "CF32"
_TIMEOUT, _OVERFLOW, _UNDERFLOW = -1, -4, -7
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class SoapyDevice:
    """A device that can be opened: ``arguments`` as SoapySDR names it."""

    driver: str
    label: str
    arguments: Mapping[str, str]


def soapy_devices() -> tuple[SoapyDevice, ...] | Missing:
    """The devices that SoapySDR finds; missing where its module is, or where it fails."""
    module = _module()
    if isinstance(module, Missing):
        return module
    try:
        found = [dict(item) for item in module.Device.enumerate()]
    except Exception as error:
        return Missing("SoapySDR devices", f"{type(error).__name__}: {error}", "failed")
    return tuple(SoapyDevice(item.get("driver", "unknown"), item.get("label", ""), item) for item in found)


def open_soapy(arguments: Mapping[str, str], configuration: RadioConfiguration) -> SoapyRadio | Missing:
    """Open a device, e.g. ``{"driver": "uhd"}``; missing with the reason where there is none, or too few channels.

    Raises:
        RadioError: the device cannot be set as asked.
    """
    module = _module()
    if isinstance(module, Missing):
        return module
    what = f"SoapySDR device {dict(arguments)}"
    try:
        device = module.Device(dict(arguments))
    except Exception as error:
        return Missing(what, str(error) or type(error).__name__)
    for direction, word in ((_TRANSMIT, "transmit"), (_RECEIVE, "receive")):
        there, asked = int(device.getNumChannels(direction)), getattr(configuration, f"{word}_antennas")
        if there < asked:
            return Missing(what, f"it has {there} channels to {word}, and {asked} are asked for")
    return SoapyRadio(device, configuration)


class SoapyRadio:
    """A device of SoapySDR as a ``Radio``.

    Drivers are called in a thread of the radio's own: one that hangs is given up after the timeout, and the radio is
    lost then. ``overflows`` and ``underflows`` count what the device dropped or lacked because the host was late.
    """

    def __init__(self, device: Any, configuration: RadioConfiguration) -> None:
        """Set the device and start both streams.

        Raises:
            RadioError: the device refused a setting, or confirmed another one than was asked for.
            RadioLost: it did not answer within the timeout.
        """
        import numpy as np

        self._np = np
        self._device = device
        self.overflows = self.underflows = 0
        self._gone = ""
        self._worker = _Worker()
        self._scale = math.sqrt(configuration.full_scale_watts)
        self.configuration = configuration
        self._streams: dict[int, Any] = {}
        try:
            self.configuration = self._call(lambda: self._set(configuration), "setting it")
        except BaseException:
            self._worker.end()
            raise

    def transmit(self, samples: object) -> None:
        """See ``Radio``; what exceeds the full scale is refused."""
        from fairlead_bridge.radio.samples import by_antenna

        np, checked = self._np, by_antenna(samples, self.configuration.transmit_antennas)
        scaled = (checked / self._scale).astype(np.complex64)
        largest = float(np.abs(scaled.view(np.float32)).max(initial=0))
        if largest > 1:
            raise RadioError(f"samples: {largest:.3g} times the full scale; accepted: 1 at the most")
        self._call(lambda: self._write(scaled), "sending", scaled.shape[1])

    def receive(self, count: int) -> Complex:
        """See ``Radio``."""
        from fairlead_bridge.radio.samples import by_radio, checked_count

        count = checked_count(count)
        found = self._call(lambda: self._read(count), "receiving", count)
        return by_radio(found.astype(self._np.complex128) * self._scale)

    def close(self) -> None:
        """Stop the streams, where the device still answers."""
        if self._gone != "closed" and not self._gone:
            try:
                self._call(self._stop, "closing")
            except (RadioLost, RadioError):
                pass
        self._gone = "closed"
        self._worker.end()

    def _call(self, work: Callable[[], Any], doing: str, samples: int = 0) -> Any:
        """Run ``work`` in the radio's thread, for the samples' own duration and the timeout at the most."""
        if self._gone:
            raise RadioLost(f"the radio is gone: {self._gone}")
        limit_s = self.configuration.timeout_s + samples / self.configuration.sample_rate_hz
        try:
            return self._worker.run(work, limit_s)
        except TimeoutError:
            self._lose(f"{doing} took longer than {limit_s:g} s")
        except RadioLost as error:
            self._gone = str(error)
            raise
        except RadioError:
            raise
        except Exception as error:
            self._lose(f"{doing}: {type(error).__name__}: {error}")

    def _lose(self, reason: str) -> None:
        self._gone = reason
        raise RadioLost(f"the radio is gone: {reason}")

    def _set(self, asked: RadioConfiguration) -> RadioConfiguration:
        rates: list[float] = []
        for direction, antennas, gain in (
            (_TRANSMIT, asked.transmit_antennas, asked.transmit_gain_db),
            (_RECEIVE, asked.receive_antennas, asked.receive_gain_db),
        ):
            for channel in range(antennas):
                self._device.setSampleRate(direction, channel, asked.sample_rate_hz)
                self._device.setFrequency(direction, channel, asked.carrier_hz)
                if gain is not None:
                    self._device.setGain(direction, channel, gain)
                rates.append(float(self._device.getSampleRate(direction, channel)))
            stream = self._device.setupStream(direction, _FORMAT, list(range(antennas)))
            if stream is None:
                raise RadioError(f"a stream of {antennas} channels; accepted: what the device has")
            self._streams[direction] = stream
        wrong = [rate for rate in rates if not math.isclose(rate, asked.sample_rate_hz, rel_tol=1e-6)]
        if wrong:
            given = f"{wrong[0]:g}, which the device gives"
            raise RadioError(f"sample_rate_hz: {asked.sample_rate_hz:g}; accepted: {given}")
        for stream in self._streams.values():
            _succeeded(self._device.activateStream(stream), "starting a stream")
        return replace(asked)

    def _write(self, samples: Any) -> None:
        done = 0
        while done < samples.shape[1] and not self._gone:
            rows = [self._np.ascontiguousarray(row[done : done + _CHUNK]) for row in samples]
            size = len(rows[0])
            result = self._device.writeStream(self._streams[_TRANSMIT], rows, size, timeoutUs=self._timeout_us)
            if result.ret == _UNDERFLOW:
                self.underflows += 1
                continue
            done += _succeeded(result.ret, "sending")

    def _read(self, count: int) -> Any:
        found = self._np.empty((self.configuration.receive_antennas, count), self._np.complex64)
        done = 0
        while done < count and not self._gone:  # given up: nobody waits for the rest
            size = min(_CHUNK, count - done)
            rows = [self._np.empty(size, self._np.complex64) for _ in found]
            result = self._device.readStream(self._streams[_RECEIVE], rows, size, timeoutUs=self._timeout_us)
            if result.ret == _OVERFLOW:
                self.overflows += 1
                continue
            got = _succeeded(result.ret, "receiving")
            for row, part in zip(found, rows, strict=True):
                row[done : done + got] = part[:got]
            done += got
        return found

    def _stop(self) -> None:
        for stream in self._streams.values():
            self._device.deactivateStream(stream)
            self._device.closeStream(stream)

    @property
    def _timeout_us(self) -> int:
        return int(self.configuration.timeout_s * 1e6)


class _Worker:
    """A thread that runs one call after the other; one that hangs is left behind with it."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="radio", daemon=True).start()

    def run(self, work: Callable[[], Any], limit_s: float) -> Any:
        """The result of ``work``, or what it raised; TimeoutError where it takes longer."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tasks.put((work, answers))
        try:
            succeeded, value = answers.get(timeout=limit_s)
        except queue.Empty:
            raise TimeoutError from None
        if not succeeded:
            raise value
        return value

    def end(self) -> None:
        """The thread ends after what it does now."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            work, answers = task
            try:
                answers.put((True, work()))
            except BaseException as error:
                answers.put((False, error))


def _succeeded(result: Any, doing: str) -> int:
    """A call's count of samples, or 0; RadioLost where it is an error code."""
    number = int(result or 0)
    if number == _TIMEOUT:
        raise RadioLost(f"{doing}: the device did not answer within the timeout")
    if number < 0:
        raise RadioLost(f"{doing}: the device answered with error {number}")
    return number


def _module() -> Any:
    try:
        return importlib.import_module("SoapySDR")
    except ImportError as error:
        return Missing("SoapySDR", f"its Python module cannot be imported ({error}); Debian: python3-soapysdr")
    except Exception as error:
        return Missing("SoapySDR", f"{type(error).__name__}: {error}", "failed")
