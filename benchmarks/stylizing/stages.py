"""What parts cost: the local stage's share of a picture's time, and the memory of a large picture."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.stylizing.methods import THREADS, Picture
from fairlead_stylization.networks.export import PICTURE_INPUTS, PictureGraph, StyleGraph
from fairlead_stylization.networks.running import read_student, student_file
from fairlead_stylization.networks.student import Student, own_details, recoloured
from fairlead_stylization.transform.tiles import length

LARGE = (3840, 2160)
_GLOBAL_INPUTS = ["content", "details", "colours", "statistics", "strength"]
_LARGE = """
import sys
import numpy as np
from fairlead_stylization.networks.running import shipped_stylizer
from fairlead_stylization.pictures import read_picture, write_picture
from fairlead_stylization.stylizer import Style
content, style = read_picture(sys.argv[1]), read_picture(sys.argv[2])
made = shipped_stylizer(sys.argv[4], int(sys.argv[5])).stylize(content.pixels, [Style(style.pixels)])
write_picture(content.with_pixels(made), sys.argv[3])
# Of this program alone: what the system tells of ended processes counts what they were before it, a copy of the parent.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


class _GlobalOnly(nn.Module):
    """The picture's graph without the local stage."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, content: Tensor, details: Tensor, colours: Tensor, code: Tensor, strength: Tensor) -> Tensor:
        return self.student.decode(recoloured(content, colours), details, code, None, strength).clamp(0, 1)


def local_share(variant: str, content: Picture, style: Picture, repeats: int) -> list[float]:
    """Per cent of a picture's time that its local stage takes: graphs with it and without, in turn.

    Both have the same weights, in full precision, exported alike. The time to find a style's patches is not in it: that
    is done once a style.
    """
    student = read_student(student_file(variant))
    pictures = [torch.from_numpy(np.ascontiguousarray(one.transpose(2, 0, 1)[None])) for one in (content, style)]
    with torch.no_grad():
        code, *patches = StyleGraph(student)(pictures[1], own_details(pictures[1]))
    total = sum(map(length, student.shape.segments))
    rest = torch.ones(1), torch.ones(1), torch.zeros(1, total), torch.zeros(1)
    whole = (pictures[0], own_details(pictures[0]), torch.eye(3, 4)[None], code, *patches, *rest)
    without = (*whole[:4], torch.ones(1))
    sessions = (
        _session(PictureGraph(student), whole, list(PICTURE_INPUTS)),
        _session(_GlobalOnly(student), without, _GLOBAL_INPUTS),
    )
    fed = [dict(zip(PICTURE_INPUTS, (tensor.numpy() for tensor in whole), strict=True))]
    fed.append({name: fed[0][name] for name in _GLOBAL_INPUTS})
    found = [[_milliseconds(*pair) for pair in zip(sessions, fed, strict=True)] for _ in range(repeats + 2)][2:]
    return [100 * (1 - other / own) for own, other in found]


def _session(graph: nn.Module, inputs: tuple[Tensor, ...], names: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = THREADS, 3
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = str(Path(folder) / "graph.onnx")
        torch.onnx.export(graph, inputs, file, dynamo=False, opset_version=17, input_names=names)
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _milliseconds(session: onnxruntime.InferenceSession, fed: dict[str, np.ndarray]) -> float:
    taken = {entry.name for entry in session.get_inputs()}
    given = {name: value for name, value in fed.items() if name in taken}
    start = time.perf_counter()
    session.run(None, given)
    return 1000 * (time.perf_counter() - start)


def large_picture(variant: str, content: Path, style: Path) -> tuple[float, float]:
    """(MiB of resident memory at most, seconds) of a process that reads, stylizes and writes a 3840 x 2160 JPEG."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.jpg"
        with Image.open(content) as picture:
            picture.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC).save(large, quality=92)
        words = [str(large), str(style), str(Path(folder) / "out.png"), variant, str(THREADS)]
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _LARGE, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the process ended with {done.returncode}: {done.stderr[-500:]}")
        return int(done.stdout.split()[-1]) / 1024, time.perf_counter() - began
