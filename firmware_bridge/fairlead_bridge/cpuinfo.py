"""/proc/cpuinfo of x86-64 and Arm: models and instruction sets."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MEGAHERTZ = re.compile(r"^cpu MHz\s*: ([0-9]{1,6}\.[0-9]{1,6})$", re.MULTILINE)

# Names by which our kernels are compiled; the values are what /proc/cpuinfo calls them, where it differs.
_SAME = (
    *("sse4_2", "ssse3", "avx", "avx2", "fma", "f16c", "bmi2", "popcnt", "aes", "crc32"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "asimd", "i8mm", "bf16", "sve", "sve2", "sme"),
)
FEATURES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in _SAME},
    "neon": ("neon", "asimd"),
    "dotprod": ("asimddp",),
    "fp16": ("asimdhp",),
    "lse": ("atomics",),
}

# (implementer, part) of MIDR_EL1, from the kernel's arch/arm64/include/asm/cputype.h.
ARM_PARTS: dict[tuple[int, int], str] = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x51, 0x001): "Oryon",
}


@dataclass(frozen=True, slots=True)
class CoreInfo:
    """One block of /proc/cpuinfo: a logical core's number, model (empty where unnamed) and raw flags."""

    number: int
    model: str
    flags: frozenset[str]


def parse_cpuinfo(text: str) -> tuple[tuple[CoreInfo, ...], str]:
    """The cores, and the name of the whole machine where a trailing block gives one (Arm boards)."""
    cores: list[CoreInfo] = []
    machine = ""
    flag_sets: dict[str, frozenset[str]] = {}
    for block in text.split("\n\n"):
        fields = _fields(block)
        machine = fields.get("Hardware") or fields.get("Model") or machine
        number = fields.get("processor", "")
        if number.isascii() and number.isdigit() and len(number) <= 5:
            words = fields.get("flags") or fields.get("Features") or ""
            flags = flag_sets.setdefault(words, frozenset(words.split()))
            cores.append(CoreInfo(int(number), _model(fields), flags))
    return tuple(cores), _printable(machine)


def frequency_of(text: str) -> int | None:
    """The fastest present frequency (Hz) that x86 states there, for machines without cpufreq."""
    megahertz = [float(number) for number in _MEGAHERTZ.findall(text)]
    return round(max(megahertz) * 1e6) if megahertz else None


def features_of(cores: tuple[CoreInfo, ...]) -> tuple[str, ...]:
    """The instruction sets that every core has, by our names, sorted."""
    if not cores:
        return ()
    shared = frozenset[str].intersection(*(core.flags for core in cores))
    return tuple(sorted(name for name, raw in FEATURES.items() if shared.intersection(raw)))


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _model(fields: dict[str, str]) -> str:
    if "model name" in fields:
        return _printable(fields["model name"])
    try:
        part = (int(fields["CPU implementer"], 16), int(fields["CPU part"], 16))
    except (KeyError, ValueError):
        return ""
    return ARM_PARTS.get(part, f"Arm implementer {part[0]:#x} part {part[1]:#x}"[:80])


def _printable(text: str) -> str:
    return "".join(letter for letter in text[:256] if letter.isprintable())
