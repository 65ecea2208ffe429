"""A model in memory: its layers in the last pages of an arena, as many pages before them as the budget leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from fairlead_language_model.checkpoint import Checkpoint, open_checkpoint

from ..arena.page_arena import PageArena
from ..memory import PageMemory
from .layers import Layer
from .layout import LayerLayout, layer_layout
from .native_layer import NativeLayer, computes
from .weights import Ends, load_ends, load_layer


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint's weights and the arena that they stand in.

    Attributes:
        checkpoint: what was read, and is read again when a layer is lost.
        layout: of every layer.
        arena: who holds which page.
        memory: what stands in them.
        ends: embedding, norm, output matrix: outside of the arena.
        layers: by number, those that are here.
    """

    checkpoint: Checkpoint
    layout: LayerLayout
    arena: PageArena
    memory: PageMemory
    ends: Ends
    layers: dict[int, Layer | NativeLayer]

    def load_layer(self, layer: int) -> None:
        """Read a layer from its files into its pages; raises CheckpointError."""
        flat = self.memory.layer(self.arena.layer_range(layer))
        load_layer(self.checkpoint, layer, self.layout, flat)
        self.adopt_layer(layer)

    def adopt_layer(self, layer: int) -> None:
        """Compute a layer from now on with what stands in its pages."""
        flat = self.memory.layer(self.arena.layer_range(layer))
        config, layout = self.checkpoint.config, self.layout
        kind = NativeLayer if computes(config, layout.dtype, flat.device) else Layer
        self.layers[layer] = kind(config, layer, layout, flat)


def load_model(
    source: Checkpoint | Path | str,
    kv_pages: int,
    page_bytes: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> LoadedModel:
    """Read a model into an arena.

    Args:
        source: a checkpoint, or its path.
        kv_pages: pages for keys and values beside those of the weights.
        page_bytes: of a page.
        dtype: of weights and states: float32 or bfloat16.
        device: of torch.

    Raises:
        CheckpointError, ConfigError: the files are damaged or do not hold what the config asks for.
        ModelUnsupported: the model has a part that is not computed here.
        ValueError: page_bytes or dtype.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    config = checkpoint.config
    layout = layer_layout(config, dtype)
    pages = layout.pages(page_bytes)
    arena = PageArena(kv_pages + config.num_hidden_layers * pages, [pages] * config.num_hidden_layers)
    memory = PageMemory(arena.pages, page_bytes, device)
    memory.read_often(range(kv_pages, arena.pages))
    model = LoadedModel(checkpoint, layout, arena, memory, load_ends(checkpoint, dtype, device), {})
    for layer in range(config.num_hidden_layers):
        model.load_layer(layer)
    return model
