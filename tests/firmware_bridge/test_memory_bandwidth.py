from __future__ import annotations

import pytest

from fairlead_bridge.memory_bandwidth import MemoryBandwidth, MemoryBandwidthSensor


def test_copies_are_timed_and_counted_twice() -> None:
    ticks = iter(range(1000))
    sensor = MemoryBandwidthSensor(buffer_bytes=8192, duration_max_s=10.0, timer=lambda: float(next(ticks)))
    bandwidth = sensor.read()
    assert isinstance(bandwidth, MemoryBandwidth)
    assert bandwidth.traffic_bytes_per_s == 2 * 8192
    assert bandwidth.traffic_uncertainty_bytes_per_s == 0.0
    assert 3 <= bandwidth.copies <= 10


def test_at_least_three_copies_when_the_time_is_over_at_once() -> None:
    bandwidth = MemoryBandwidthSensor(buffer_bytes=4096, duration_max_s=0.0).read()
    assert isinstance(bandwidth, MemoryBandwidth)
    assert bandwidth.copies == 3


@pytest.mark.parametrize(("cache_bytes", "within"), [(0, False), (8192, True), (8191, False)])
def test_it_says_when_the_buffers_fit_a_cache(cache_bytes: int, within: bool) -> None:
    bandwidth = MemoryBandwidthSensor(buffer_bytes=4096, cache_bytes=cache_bytes, duration_max_s=0.0).read()
    assert isinstance(bandwidth, MemoryBandwidth)
    assert bandwidth.within_cache is within


def test_no_room_is_missing_and_nonsense_an_error() -> None:
    assert not MemoryBandwidthSensor(buffer_bytes=2**60).read()
    with pytest.raises(ValueError, match="buffer_bytes is 0"):
        MemoryBandwidthSensor(buffer_bytes=0)
