"""Writes the best checkpoint of a run with tasks: bfloat16 weights in Hugging Face's layout, scores, and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..whole_file import whole_file
from .card import NETWORKS, held_titles, optimizer_of, parameter_count, spread
from .layout import config, write_json, write_settings
from .loop import load_model
from .model import LlamaDrelu
from .prepare import Prepared
from .shape import ModelShape
from .task_batches import FULL_FROM, TEXT_SHARE
from .task_scores import TaskScore, score_tasks
from .tasks import LARGEST_TERM, Tasks, held_out

Scores = dict[int, dict[str, TaskScore]]
_DOCUMENTS = 12
_TEST_SEED = 1001


def export_tasks(directory: Path, target: Path, prepared: Prepared, with_test: bool) -> Scores:
    """Write a run's best checkpoint to a directory, and score what was written.

    Returns:
        scores by length of the context and by task, on documents from the test text, or with `with_test` false from
        the validation text.
    """
    model, state = load_model(directory / "best.pt")
    write_bfloat16(target, model, prepared)
    names = tuple(state["recipe"]["tasks"])
    tasks = Tasks(prepared.tokenizer, prepared.test if with_test else prepared.validation)
    written = load_bfloat16(target, model.shape)
    lengths = [length for length in (512, 1024, 2048, 4096) if length < model.shape.context] + [model.shape.context]
    scores = {
        length: score_tasks(written, held_out(tasks, names, length, _DOCUMENTS, seed=_TEST_SEED)) for length in lengths
    }
    log = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    (target / "MODEL_CARD.md").write_text(task_card(target.name, model.shape, prepared.facts, state, log, scores))
    return scores


def write_bfloat16(target: Path, model: LlamaDrelu, prepared: Prepared) -> None:
    """Write config, tokenizer and weights in bfloat16, as other servers read them too."""
    target.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    with whole_file(target / "model.safetensors") as file:
        save_file(weights, file, metadata={"format": "pt"})
    write_json(target / "config.json", {**config(model.shape, prepared.tokenizer), "torch_dtype": "bfloat16"})
    write_settings(target, model.shape, prepared.tokenizer)


def load_bfloat16(directory: Path, shape: ModelShape) -> LlamaDrelu:
    """Read an exported checkpoint back, with the values that were written, in float32."""
    model = LlamaDrelu(shape)
    stored = load_file(directory / "model.safetensors")
    model.load_state_dict({name: value.float() for name, value in stored.items()})
    return model.eval()


def task_card(
    name: str,
    shape: ModelShape,
    facts: Mapping[str, Any],
    state: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    scores: Scores,
) -> str:
    """Return the card's Markdown, from the run's own records."""
    progress, recipe = state["progress"], state["recipe"]
    sizes = ("layers", "width", "heads", "kv_heads", "neurons", "context")
    return (
        Path(__file__)
        .with_name("task_card_template.md")
        .read_text()
        .format(
            name=name,
            shape=shape,
            network=NETWORKS[shape.ffn],
            facts=facts,
            progress=progress,
            recipe=recipe,
            parameters=parameter_count(shape) / 1e6,
            largest=LARGEST_TERM,
            documents=", ".join(
                f"{len(facts[f'{part}_documents'])} {part}" for part in ("train", "validation", "test")
            ),
            validation=held_titles(facts, "validation"),
            test=held_titles(facts, "test"),
            text=TEXT_SHARE,
            full=FULL_FROM,
            tasks=", ".join(recipe["tasks"]),
            names=",".join(recipe["tasks"]),
            batch_tokens=progress["tokens"] / progress["step"],
            optimizer=optimizer_of(recipe),
            precision="bfloat16 matrix products" if recipe["bf16"] else "float32",
            hardware=state.get("hardware", "not recorded"),
            minutes=progress["elapsed_s"] / 60,
            rate=progress["tokens"] / max(progress["elapsed_s"], 1e-9),
            limit=f"--minutes {recipe['limit_s'] / 60:.0f}" if recipe["limit_s"] else f"--steps {recipe['steps']}",
            size=" ".join(f"--{name.replace('_', '-')} {getattr(shape, name)}" for name in sizes),
            curve="\n".join(_curve_row(line) for line in spread(log, 8)),
            scores="\n".join(
                _score_row(task, length, score) for length, some in scores.items() for task, score in some.items()
            ),
        )
    )


def _curve_row(line: Mapping[str, Any]) -> str:
    found = ", ".join(f"{name} {share:.1%}" for name, share in line["accuracy"].items())
    return f"| {line['step']} | {line['tokens']} | {line['loss']} | {found} |"


def _score_row(name: str, length: int, score: TaskScore) -> str:
    low, high = score.interval
    return f"| {name} | {length} | {score.asked} | {score.accuracy:.2%} | {low:.2%} to {high:.2%} | {score.loss:.4f} |"
