"""Exported graphs behind one call: ONNX Runtime, or OpenVINO where it is faster."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadCheckpoint, BadSetting, MissingExtra

Array = NDArray[np.float32]
Runtime = Literal["auto", "onnxruntime", "openvino"]

RUNTIMES: tuple[Runtime, ...] = ("auto", "onnxruntime", "openvino")


class Graph(Protocol):
    """A graph that is ready to run."""

    @property
    def told(self) -> Mapping[str, str]:
        """What the file says about itself."""
        ...

    def run(self, fed: Mapping[str, Array]) -> list[Array]:
        """Inputs by name -> outputs, in the file's order."""
        ...


def open_graph(path: Path, threads: int = 0, runtime: Runtime = "auto") -> Graph:
    """Open an exported graph.

    Args:
        path: an ONNX file.
        threads: as many as there are processors where 0.
        runtime: "auto" is `preferred()`.

    Raises:
        BadCheckpoint: no such file, or not such a graph.
        BadSetting: no such runtime.
        MissingExtra: the runtime is not installed.
    """
    if runtime not in RUNTIMES:
        raise BadSetting(f"runtime: {runtime!r}; accepted: {', '.join(RUNTIMES)}")
    kind = preferred() if runtime == "auto" else runtime
    if find_spec(kind) is None:
        raise MissingExtra(f"stylizing with {kind}", "onnx" if kind == "onnxruntime" else kind)
    if not path.is_file():
        raise BadCheckpoint(path, "no such file; accepted: an exported graph")
    try:
        return _KINDS[kind](path, threads)
    except Exception as problem:
        # Both raise classes of their own that share no base but this.
        raise BadCheckpoint(path, f"not a graph that {kind} can run: {str(problem).splitlines()[0]}") from problem


def preferred() -> Runtime:
    """OpenVINO where it is installed and the processor multiplies bfloat16 matrices; else ONNX Runtime."""
    if find_spec("openvino") is None:
        return "onnxruntime"
    if find_spec("onnxruntime") is None:
        return "openvino"
    import openvino

    with contextlib.suppress(RuntimeError):
        if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "openvino"
    return "onnxruntime"


class _OnnxRuntime:
    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.told: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, fed: Mapping[str, Array]) -> list[Array]:
        return self._session.run(None, dict(fed))


class _OpenVino:
    """Convolutions in bfloat16 where the processor has them; each call has a request of its own."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        core: Any = openvino.Core()
        model = core.read_model(str(path))
        self.told = {
            name: str(model.get_rt_info(["framework", name]).value)
            for name in ("shape", "variant")
            if model.has_rt_info(["framework", name])
        }
        wanted = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"} | (
            {"INFERENCE_NUM_THREADS": threads} if threads else {}
        )
        self._compiled = core.compile_model(model, "CPU", wanted)

    def run(self, fed: Mapping[str, Array]) -> list[Array]:
        found = self._compiled.create_infer_request().infer(dict(fed), share_inputs=True)
        return [np.array(found[output]) for output in self._compiled.outputs]


_KINDS = {"onnxruntime": _OnnxRuntime, "openvino": _OpenVino}
