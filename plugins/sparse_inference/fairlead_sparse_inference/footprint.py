"""What a model costs in bytes and operations, from its config and file sizes alone.

Imported by the agent: standard library only; no weight is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead_language_model.gguf_header import GgufHeader

from .expert_footprint import FeedForwardSizes, sizes_of_config, sizes_of_gguf

#: Bytes of one weight in Q8_0: one int8, and a float16 scale for each 32.
Q8_BYTES = 1 + 2 / 32
#: Bytes of one packed weight by its bits, with a float16 scale for each 32.
WEIGHT_BYTES = {4: 4 / 8 + 2 / 32, 8: Q8_BYTES}
PAGE_TOKENS = 16
#: Of a bundle: what reads go to, and the tokens of a prompt that are computed at once.
READ_BUFFERS = 3 * 2**20
PROMPT_PIECE_TOKENS = 64
#: Share of zero gates where the config holds no measured one: what such models reach (TurboSparse, section 4.2).
ASSUMED_SPARSITY = {"drelu": 0.85, "relu": 0.6}


_KNOWN = "a model of the Llama family, a mixture of experts or OPT"


class UnknownModel(ValueError):
    """There is no model at that path, or its config does not describe one."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Sizes of a model; `file_bytes` is what lies on storage, `kv_width` the width of a layer's keys.

    `neuron_bytes` are those rows of a bundle's feed-forward networks that may be read when they are needed; `networks`
    says how many of these there are, and `neurons` is the size of the largest. `idle_weights` are those of the experts
    that a token does not choose: they are in memory and not read.
    """

    layers: int
    width: int
    neurons: int
    kv_width: int
    head_width: int
    context: int
    file_bytes: int
    attention_weights: int
    gate_weights: int
    sparse_weights: int
    head_weights: int
    sparsity: float
    q8: bool
    neuron_bytes: int = 0
    networks: int = 1
    all_neurons: int = 0
    idle_weights: int = 0
    matrices: int = 3

    @property
    def weights(self) -> int:
        """Parameters that a dense decode step reads."""
        return self.attention_weights + self.gate_weights + self.sparse_weights + self.head_weights

    @property
    def active_weights(self) -> float:
        """Parameters that a sparse decode step reads: up and down rows only where the gate is not zero."""
        return self.weights - self.sparse_weights * self.sparsity

    @property
    def pass_bytes(self) -> int:
        """Bytes that a bundle's reads, and one piece of a prompt, need beside the cache."""
        if not self.neuron_bytes:
            return 0
        rows = self.neurons * (self.neuron_bytes // (self.matrices * self.all_neurons))
        return READ_BUFFERS + rows + 2 * 4 * PROMPT_PIECE_TOKENS * self.neurons

    def cache_bytes(self, mode: str, share: float) -> int:
        """Bytes of a bundle's neurons in memory where a share of them is cached.

        Exact mode holds all gates, but for those of experts.
        """
        gates = self.neuron_bytes // self.matrices if mode == "exact" and self.networks == self.layers else 0
        return gates + int((self.neuron_bytes - gates) * share)

    def weight_bytes(self, bits: int | None = None) -> int:
        """Bytes of the weights in memory: a bundle's as stored; others packed with `bits`, or Q8 where None."""
        if self.neuron_bytes or (self.q8 and bits is None):
            return self.file_bytes
        return int((self.weights + self.idle_weights) * WEIGHT_BYTES[bits or 8])

    def kv_bytes(self, tokens: int, bits: int = 32) -> int:
        """Bytes of the keys and values of so many tokens, in whole pages."""
        pages = -(-tokens // PAGE_TOKENS)
        head = 4 * self.head_width if bits == 32 else self.head_width + 4
        return pages * PAGE_TOKENS * 2 * self.layers * self.kv_width // self.head_width * head


def read_footprint(path: Path) -> Footprint:
    """Read the sizes of a model: a directory in the Hugging Face layout, or a .gguf file.

    Raises:
        UnknownModel: names the file and the field.
    """
    file = path if path.suffix == ".gguf" else path / "config.json"
    try:
        return _of_gguf(path) if file == path else _of_directory(json.loads(file.read_text()), path)
    except OSError as error:
        raise UnknownModel(f"{file}: {error.strerror or error}") from None
    except KeyError as error:
        raise UnknownModel(f"{file}: field {error} is missing; accepted: {_KNOWN}") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UnknownModel(f"{file}: {error}; accepted: {_KNOWN}") from None


def _of_directory(written: dict[str, Any], path: Path) -> Footprint:
    heads, width = int(written["num_attention_heads"]), int(written["hidden_size"])
    files = sorted(path.glob("*.safetensors"))
    neuron_bytes = _neuron_bytes(path / "bundle.json")
    layers = int(written["num_hidden_layers"])
    size = "moe_ffn_hidden_size" if "moe_num_primary_experts" in written else "intermediate_size"
    neurons = int(written["ffn_dim" if _is_opt(written) else size])
    return _footprint(
        layers=layers,
        width=width,
        feed_forward=sizes_of_config(written, layers, neurons),
        matrices=2 if _is_opt(written) else 3,
        heads=heads,
        kv_heads=int(written.get("num_key_value_heads", heads)),
        head_width=int(written.get("head_dim") or width // heads),
        vocabulary=int(written["vocab_size"]),
        context=int(written["max_position_embeddings"]),
        file_bytes=sum(file.stat().st_size for file in files) + neuron_bytes,
        sparsity=_sparsity(written),
        # A bundle's tensors are packed: they take in memory what they take on storage.
        q8=neuron_bytes > 0 or any(b".q8" in _header(file) for file in files[:1]),
        neuron_bytes=neuron_bytes,
    )


def _of_gguf(path: Path) -> Footprint:
    header = GgufHeader(path)
    heads, width = header.number("attention.head_count"), header.number("embedding_length")
    layers = header.number("block_count")
    return _footprint(
        layers=layers,
        width=width,
        feed_forward=sizes_of_gguf(header, layers, header.number("feed_forward_length")),
        matrices=2 if header.metadata["general.architecture"] == "opt" else 3,
        heads=heads,
        kv_heads=header.number_or("attention.head_count_kv", heads),
        head_width=header.number_or("attention.key_length", width // heads),
        vocabulary=header.vocabulary,
        context=header.number("context_length"),
        file_bytes=path.stat().st_size,
        sparsity=_gguf_sparsity(header),
        q8=False,
    )


def _footprint(
    *,
    heads: int,
    kv_heads: int,
    head_width: int,
    vocabulary: int,
    matrices: int,
    feed_forward: FeedForwardSizes,
    **sizes: Any,
) -> Footprint:
    layers, width, kv_width = sizes["layers"], sizes["width"], kv_heads * head_width
    return Footprint(
        **sizes,
        neurons=feed_forward.largest,
        networks=feed_forward.networks,
        matrices=matrices,
        all_neurons=feed_forward.all,
        idle_weights=matrices * width * (feed_forward.all - feed_forward.active),
        kv_width=kv_width,
        head_width=head_width,
        attention_weights=layers * 2 * width * (heads * head_width + kv_width) + width * feed_forward.routers,
        gate_weights=width * feed_forward.active,
        # Of a network without gate, the first matrix decides and the second is read where it is not zero.
        sparse_weights=(matrices - 1) * width * feed_forward.active,
        head_weights=vocabulary * width,
    )


def _sparsity(written: dict[str, Any]) -> float:
    ours = written.get("fairlead", {})
    measured = ours.get("gate_sparsity")
    if measured:
        return sum(map(float, measured)) / len(measured)
    # SmallThinker's code has ReLUs, and its config does not say so.
    stock = "relu" if "moe_num_primary_experts" in written else "silu"
    default = written.get("activation_function", "relu") if _is_opt(written) else written.get("hidden_act", stock)
    # A threshold makes a ReLU no less sparse (ProSparse).
    gate = "drelu" if ours.get("ffn") == "drelu" else str(default).replace("fatrelu", "relu")
    return ASSUMED_SPARSITY.get(gate, 0.0)


def _gguf_sparsity(header: GgufHeader) -> float:
    architecture = header.metadata["general.architecture"]
    if architecture == "bamboo":
        return ASSUMED_SPARSITY["drelu"]
    # Stock files of the Llama family do not name the gate, and are read as SiLU, which is never zero.
    return ASSUMED_SPARSITY["relu"] if header.powerinfer or architecture == "opt" else 0.0


def _is_opt(written: dict[str, Any]) -> bool:
    return "OPTForCausalLM" in (written.get("architectures") or [])


def _neuron_bytes(manifest: Path) -> int:
    """Bytes of all rows of a bundle's networks, or 0 where there is no bundle."""
    if not manifest.is_file():
        return 0
    written = json.loads(manifest.read_text())
    lanes = -(-int(written["hidden"]) // 128) * 4
    row = -(-(lanes * 4 * int(written["bits"]) + 2 * lanes) // 16) * 16
    matrices = int(written.get("matrices", 3))
    return sum(matrices * row * int(network["neurons"]) for network in written["networks"])


def _header(file: Path) -> bytes:
    # The names come first in a safetensors file; the first kilobytes hold some of every kind.
    with file.open("rb") as opened:
        return opened.read(8192)
