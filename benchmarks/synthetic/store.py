"""Makes a synthetic model's files once and finds them again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairlead_language_model.graph import LlamaGraph
from fairlead_sparse_inference.bundle import all_networks
from fairlead_sparse_inference.sparsity.predictor.file import read_predictors

from . import activations, bundle_directory, gguf_files, weights
from .shape import Shape

FORMAT = 2


@dataclass(frozen=True, slots=True)
class SyntheticFiles:
    """The same weights for every engine.

    Attributes:
        dense: GGUF for llama.cpp.
        powerinfer: sparse GGUF for PowerInfer.
        bundle: ours, ReLU gates with predictors.
        stock: ours, the same weights as a stock model with SiLU gates, every neuron active.
        facts: shares of active and predicted neurons, recall, and of which text.
    """

    folder: Path

    @property
    def dense(self) -> Path:
        """For llama.cpp."""
        return self.folder / "dense.gguf"

    @property
    def powerinfer(self) -> Path:
        """For PowerInfer."""
        return self.folder / "sparse.powerinfer.gguf"

    @property
    def bundle(self) -> Path:
        """For us."""
        return self.folder / "bundle"

    @property
    def stock(self) -> Path:
        """For us, dense."""
        return self.folder / "stock"

    @property
    def facts(self) -> dict[str, Any]:
        """What was made."""
        return json.loads((self.folder / "synthetic.json").read_text())


def prepared(
    shape: Shape,
    model: Path,
    text: Path,
    folder: Path,
    seed: int,
    *,
    peers: bool = True,
    predictors: Path | None = None,
) -> SyntheticFiles:
    """Find the files below ``folder``, or make them (some minutes at full size).

    Args:
        shape: of the synthetic model.
        model: the real model whose activations are taken.
        text: the corpus whose held-out part is read.
        folder: where synthetic models are kept.
        seed: of all random numbers.
        peers: make the files for other engines, too, or leave them out and be content without.
        predictors: of the real model; the synthetic ones find and name as much as they do. Else they find 98 % of what
            is active, and name what their rank makes them.

    Raises:
        CorpusError, ValueError: the text cannot be read or is too short, or the predictors are another model's.
    """
    digest = None if predictors is None else hashlib.sha256(predictors.read_bytes()).hexdigest()
    wanted = {"format": FORMAT, "shape": asdict(shape), "seed": seed, "source": model.name, "predictors": digest}
    files = SyntheticFiles(folder / f"{shape.parameters}-{seed}")
    try:
        known = files.facts
        if all(known.get(name) == value for name, value in wanted.items()) and known.get("peers", True) >= peers:
            return files
    except (OSError, ValueError):
        pass
    shutil.rmtree(files.folder, ignore_errors=True)
    files.folder.mkdir(parents=True)
    tokens = activations.held_out_tokens(model, text, shape.states)
    graph = LlamaGraph.load(model)
    gates, inputs = activations.gates(graph, tokens)
    source = [activations.factored(gate, shape.components(len(gates))) for gate in gates]
    if predictors is not None:
        config = graph.config
        found, _ = read_predictors(predictors, all_networks(config), config.hidden_size)
        shares = map(activations.predictor_shares, found.values(), inputs, gates)
        source = [replace(layer, predictor=does) for layer, does in zip(source, shares, strict=True)]
    made = weights.build(shape, source, seed)
    if peers:
        gguf_files.write_dense(made, files.dense)
        gguf_files.write_powerinfer(made, files.powerinfer)
    bundle_directory.write_directory(made, files.bundle)
    _stock(files)
    measured = [float(layer.frequency.mean()) for layer in source]
    facts = {**wanted, "peers": peers, **_facts(made), "source_active_by_layer": measured, "states": len(tokens)}
    (files.folder / "synthetic.json").write_text(json.dumps(facts, indent=1))
    return files


def _stock(files: SyntheticFiles) -> None:
    files.stock.mkdir()
    for file in files.bundle.iterdir():
        os.link(file, files.stock / file.name)
    config = json.loads((files.bundle / "config.json").read_text())
    (files.stock / "config.json").unlink()
    (files.stock / "config.json").write_text(json.dumps({**config, "hidden_act": "silu"}))


def _facts(made: weights.SyntheticModel) -> dict[str, Any]:
    layers = made.layers
    return {
        "active": float(np.mean([layer.active for layer in layers])),
        "predicted": float(np.mean([layer.predicted for layer in layers])),
        "recall": float(np.mean([layer.recall for layer in layers])),
        "active_by_layer": [round(layer.active, 4) for layer in layers],
        "predicted_by_layer": [round(layer.predicted, 4) for layer in layers],
    }
