"""The device that kernels are timed on: CUDA graphs and events, or, where there is none, plain calls."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch
import triton


class Device:
    """Times captured work. Random numbers come from one seed."""

    def __init__(self, seed: int) -> None:
        self.is_cuda = torch.cuda.is_available()
        self.torch = "cuda" if self.is_cuda else "cpu"
        self.name = torch.cuda.get_device_name() if self.is_cuda else "Triton's interpreter"
        self.random = torch.Generator(self.torch).manual_seed(seed)
        self.seed = seed

    def captured(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Return work that runs as one CUDA graph: launches cost nothing then."""
        if not self.is_cuda:
            return work
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = work()
        # What the graph reads and writes stays alive as long as it does.
        return lambda: (graph.replay(), kept, work)[0]

    def microseconds(self, work: Callable[[], None], least: float = 20e3) -> float:
        """Time one call: the mean over so many that they take ``least`` microseconds, after one that is not timed."""
        if not self.is_cuda:
            began = time.perf_counter()
            work()
            return (time.perf_counter() - began) * 1e6
        work()
        once = self._timed(work, 1)
        return self._timed(work, max(3, min(500, int(least / max(once, 1.0)))))

    def _timed(self, work: Callable[[], None], times: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        for _ in range(times):
            work()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) * 1e3 / times

    def bandwidth(self) -> float:
        """Bytes per second that a large copy reads and writes."""
        size = 1 << (31 if self.is_cuda else 22)
        source = torch.empty(size, dtype=torch.uint8, device=self.torch).random_(0, 255, generator=self.random)
        target = torch.empty_like(source)
        took = self.microseconds(lambda: target.copy_(source), 200e3)
        return 2e6 * size / took

    def tidy(self) -> None:
        """Give memory back that nothing holds."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def conditions(self) -> dict[str, Any]:
        """What belongs to every number."""
        found = {"device": self.name, "triton": triton.__version__, "torch": torch.__version__}
        if self.is_cuda:
            properties = torch.cuda.get_device_properties(0)
            found["multiprocessors"] = properties.multi_processor_count
            found["device_memory_bytes"] = properties.total_memory
            found["cuda"] = torch.version.cuda
        return found
