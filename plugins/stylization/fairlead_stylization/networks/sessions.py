"""Exported graphs by ONNX Runtime.

In 32-bit floats: roots of covariances do not survive bfloat16, which OpenVINO would take where a processor has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadCheckpoint, MissingExtra

Array = NDArray[np.float32]


class Graph:
    """A graph that is ready to run.

    Args:
        path: an ONNX file.
        threads: as many as there are processors where 0.

    Attributes:
        told: what the file says about itself.

    Raises:
        BadCheckpoint: no such file, or not such a graph.
        MissingExtra: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as problem:
            raise MissingExtra("stylizing with ONNX Runtime", "onnx") from problem
        if not path.is_file():
            raise BadCheckpoint(path, "no such file; accepted: an exported graph")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:
            # ONNX Runtime raises classes of its own that share no base but this.
            first = str(problem).splitlines()[0]
            raise BadCheckpoint(path, f"not a graph that ONNX Runtime can run: {first}") from problem
        self.told: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, fed: Mapping[str, Array]) -> list[Array]:
        """Inputs by name -> outputs, in the file's order."""
        return self._session.run(None, dict(fed))
