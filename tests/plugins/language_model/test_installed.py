"""What is installed, found without importing it."""

from __future__ import annotations

import subprocess
import sys

from fairlead_language_model.installed import isa


def test_the_instruction_set_follows_the_processor() -> None:
    assert isa("aarch64", ("asimd",)) == "neon"
    assert isa("aarch64", ("asimd", "dotprod")) == "neon_dotprod"
    assert isa("x86_64", ("avx2", "fma", "avx512f", "avx512bw", "avx512vl")) == "avx512"
    assert isa("x86_64", ("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni")) == "avx512vnni"
    assert isa("x86_64", ("sse4_2",)) == "plain"


def test_looking_imports_nothing() -> None:
    script = (
        "import sys; from fairlead_language_model.installed import kernels, processor_flags, torch_without_cuda; "
        "kernels('x86_64', processor_flags()); torch_without_cuda(); "
        "print(sorted({'numpy', 'torch', 'fairlead_kernels'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
