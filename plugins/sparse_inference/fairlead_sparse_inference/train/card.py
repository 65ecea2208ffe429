"""The model card, written from a run's own records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .evaluate import Score
from .shape import ModelShape

Scores = dict[str, Score]
_SIZES = ("layers", "width", "heads", "kv_heads", "neurons", "context")
NETWORKS = {
    "drelu": "a dReLU feed-forward network, down(relu(gate x) * relu(up x)) (TurboSparse)",
    "swiglu": "a SwiGLU feed-forward network, down(silu(gate x) * up x)",
}


def model_card(
    shape: ModelShape,
    facts: Mapping[str, Any],
    state: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    scores: Scores,
) -> str:
    """Return the card's Markdown."""
    progress, recipe = state["progress"], state["recipe"]
    name, shown = list(scores.items())[-1]
    template = Path(__file__).with_name("card_template.md").read_text()
    return template.format(
        shape=shape,
        network=NETWORKS[shape.ffn],
        facts=facts,
        progress=progress,
        recipe=recipe,
        parameters=parameter_count(shape) / 1e6,
        documents=", ".join(f"{len(facts[f'{part}_documents'])} {part}" for part in ("train", "validation", "test")),
        validation=held_titles(facts, "validation"),
        test=held_titles(facts, "test"),
        epochs=progress["tokens"] / (facts["train_tokens"] + facts["conversation_tokens"]),
        batch_tokens=progress["tokens"] / progress["step"],
        tested="; the test text was scored once, with the exported weights" if "test, Q8_0" in scores else "",
        optimizer=optimizer_of(recipe),
        origin=_origin(recipe),
        options=_options(recipe),
        precision="bfloat16 matrix products" if recipe["bf16"] else "float32",
        hardware=state.get("hardware", "not recorded"),
        dropout=f"dropout {recipe['dropout']}, " if recipe.get("dropout") else "",
        minutes=progress["elapsed_s"] / 60,
        rate=progress["tokens"] / max(progress["elapsed_s"], 1e-9),
        limit=f"--minutes {recipe['limit_s'] / 60:.0f}" if recipe["limit_s"] else f"--steps {recipe['steps']}",
        size=" ".join(f"--{name.replace('_', '-')} {getattr(shape, name)}" for name in _SIZES),
        curve="\n".join(_curve_row(line) for line in spread(log, 8)),
        scores="\n".join(_score_row(name, score, facts) for name, score in scores.items()),
        sparsity_of=name,
        sparsity="\n".join(
            f"| {i} | {gate:.1%} | {product:.1%} |"
            for i, (gate, product) in enumerate(zip(shown.gate_sparsity, shown.product_sparsity, strict=True))
        ),
    )


def parameter_count(shape: ModelShape) -> int:
    """Return how many weights a model of this shape has."""
    attention = 2 * shape.width * (shape.heads + shape.kv_heads) * shape.head_width
    layer = attention + 3 * shape.width * shape.neurons + 2 * shape.width
    tables = 1 if shape.tied else 2
    return tables * shape.vocabulary * shape.width + shape.layers * layer + shape.width


def optimizer_of(recipe: Mapping[str, Any]) -> str:
    """Name the optimizer of a recipe."""
    adamw = "AdamW (beta 0.9, 0.95)"
    if recipe.get("optimizer") != "muon":
        return adamw
    return f"Muon (momentum 0.95, steps of AdamW's size) for the matrices of the layers, {adamw} for the rest"


def _origin(recipe: Mapping[str, Any]) -> str:
    start = recipe.get("started_from")
    return (
        f"Started from the weights of an earlier version ({start}), not from random ones; the steps are this run's. "
        if start
        else ""
    )


def _options(recipe: Mapping[str, Any]) -> str:
    start = f" --init {recipe['started_from']}" if recipe.get("started_from") else ""
    dropout = f" --dropout {recipe['dropout']}" if recipe.get("dropout") else ""
    skew = f" --gate-skew {recipe['gate_skew']}" if recipe.get("gate_skew") else ""
    return (
        f"{skew} --optimizer {recipe.get('optimizer', 'adamw')}{dropout} --device {recipe.get('device', 'cpu')}{start}"
    )


def held_titles(facts: Mapping[str, Any], part: str) -> str:
    """Name what was kept apart for a part."""
    names = facts[f"{part}_documents"]
    if facts["split_by"] == "region":
        return "the last regions of every document"
    return ", ".join(f"*{name.replace('__', ': ').replace('_', ' ')}*" for name in names)


def spread(log: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Return at most so many lines, spread evenly, the first and the last among them."""
    if len(log) <= most:
        return list(log)
    return [log[round(i * (len(log) - 1) / (most - 1))] for i in range(most)]


def _curve_row(line: Mapping[str, Any]) -> str:
    zeros = [sum(line[name]) / len(line[name]) for name in ("gate_sparsity", "product_sparsity")]
    return (
        f"| {line['step']} | {line['tokens']} | {line['loss']} | {line['validation_loss']} "
        f"| {zeros[0]:.1%} | {zeros[1]:.1%} |"
    )


def _score_row(name: str, score: Score, facts: Mapping[str, Any]) -> str:
    part = name.split(",")[0]
    bits = score.bits_per_byte(facts[f"{part}_bytes"] / facts[f"{part}_tokens"])
    return f"| {name} | {score.tokens} | {score.loss:.4f} | {score.perplexity:.2f} | {bits:.3f} |"
