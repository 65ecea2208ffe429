"""Hot neurons on whatever ONNX Runtime has an execution provider for: NPUs (QNN, CoreML, OpenVINO, ...), GPUs, CPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .interface import CAPACITY, Accelerator, AcceleratorUnavailable, HotNeurons, Network, Weights

_EXTRA = "`pip install 'fairlead-sparse-inference[onnx]'` installs it"


class OnnxAccelerator(Accelerator):
    """A session for each layer, run by one thread of its own while the processor computes."""

    def __init__(
        self,
        network: Network,
        capacity: int = CAPACITY,
        *,
        weights: Weights = "packed",
        providers: Sequence[str] | None = None,
        options: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Choose the providers.

        Args:
            network, capacity: see `Accelerator`.
            weights: how the graph holds them.
            providers: names of execution providers, the preferred first, with or without "ExecutionProvider"; None
                takes all that this build of ONNX Runtime has, in its own order.
            options: for providers, by the same names.

        Raises:
            AcceleratorUnavailable: ONNX Runtime, onnx or a provider is missing; names those that are there.
        """
        self._runtime = _software()
        super().__init__(network, capacity)
        available: list[str] = self._runtime.get_available_providers()
        self.providers, self._asked_for = chosen_providers(providers, available), bool(providers)
        named = {chosen_providers([name], available)[0]: dict(values) for name, values in (options or {}).items()}
        self._options = [named.get(name, {}) for name in self.providers]
        self._weights: Weights = weights
        self._sessions: dict[int, Any] = {}
        self._used: str | None = None
        self._thread = ThreadPoolExecutor(1, "onnxruntime")
        self._running: Future[None] | None = None

    @property
    def name(self) -> str:
        """See `Accelerator`."""
        return f"onnxruntime:{(self._used or self.providers[0]).removesuffix('ExecutionProvider')}"

    def load(self, layer: int, hot: HotNeurons) -> None:
        """See `Accelerator`.

        Raises:
            AcceleratorUnavailable: the preferred provider cannot be used on this machine.
        """
        from .onnx_graph import graph_of

        content = graph_of(hot, self.network, self._weights).SerializeToString()
        settings = self._runtime.SessionOptions()
        settings.log_severity_level = 3
        try:
            session = self._runtime.InferenceSession(
                content, settings, providers=self.providers, provider_options=self._options
            )
        except Exception as error:
            raise AcceleratorUnavailable(f"{self.providers[0]}: {error}") from error
        used = session.get_providers()
        # ONNX Runtime goes on without a provider that does not start.
        if self._asked_for and self.providers[0] not in used:
            raise AcceleratorUnavailable(f"{self.providers[0]} did not start here; accepted: {', '.join(used)}")
        # Nobody named any: those that started are the ones that there are.
        self._sessions[layer], self._used = session, used[0]
        self.loaded_bytes += len(content)

    def submit(self, layer: int, tokens: int) -> None:
        """See `Accelerator`."""
        self._running = self._thread.submit(self._run, self._sessions[layer], tokens)

    def _run(self, session: Any, tokens: int) -> None:
        y, active = session.run(["y", "active"], {"x": self.input[:tokens]})
        self.output[:tokens] = y
        self.active[:tokens] = active

    def wait(self) -> None:
        """See `Accelerator`."""
        if self._running is None:
            raise RuntimeError("wait: nothing was submitted")
        running, self._running = self._running, None
        running.result()

    def close(self) -> None:
        """See `Accelerator`."""
        self._thread.shutdown()
        self._sessions.clear()


def chosen_providers(wanted: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    """Return full names of providers that are there; names count without regard to case and ending.

    Raises:
        AcceleratorUnavailable: one is not there; names those that are.
    """
    if not wanted:
        return list(available)
    known = {_short(name): name for name in available}
    missing = [name for name in wanted if _short(name) not in known]
    if missing:
        there = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
        raise AcceleratorUnavailable(
            f"providers: {missing[0]}: this build of ONNX Runtime does not have it; accepted: {there}"
        )
    return list(dict.fromkeys(known[_short(name)] for name in wanted))


def _short(name: str) -> str:
    return name.lower().removesuffix("executionprovider")


def _software() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise AcceleratorUnavailable(f"ONNX Runtime or onnx is missing ({error}); {_EXTRA}") from None
    return onnxruntime
