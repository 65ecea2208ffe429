"""Documents of tasks: answers follow from what stands before them; a model with heads of their own size trains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_sparse_inference.train.command import train_tiny
from fairlead_sparse_inference.train.task_batches import IGNORED, TaskBatches
from fairlead_sparse_inference.train.tasks import TASKS, Tasks, parse_tasks
from fairlead_sparse_inference.train.tokenizer import train_tokenizer

WORDS = [f"{a}{b}" for a in ("bel", "cor", "dan", "fer", "gol", "hum", "jin", "kel") for b in ("ta", "mo", "ri", "su")]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    random = np.random.default_rng(0)
    return train_tokenizer((" ".join(random.choice(WORDS, 50)) + "\n" for _ in range(60)), 400)


@pytest.fixture(scope="module")
def tasks(tokenizer: Tokenizer) -> Tasks:
    prose = tokenizer.encode(" ".join(np.random.default_rng(1).choice(WORDS, 600)), add_special_tokens=False).ids
    return Tasks(tokenizer, np.array(prose, np.uint16))


@given(seed=st.integers(0, 2**32 - 1), length=st.integers(64, 700), prose=st.floats(0, 0.8))
def test_answers_follow_from_what_stands_before_them(
    tokenizer: Tokenizer, tasks: Tasks, seed: int, length: int, prose: float
) -> None:
    for task in TASKS:
        document = tasks.document(task, length, np.random.default_rng(seed), prose)
        assert len(document.tokens) == len(document.answers) == length
        assert not (document.answers & ~document.foretold).any()
        lines = tokenizer.decode(document.tokens[1:].tolist(), skip_special_tokens=False).split("\n")[:-1]
        checks = {"recall": _recalled, "copy": _copied, "arithmetic": _summed}
        checks[task](lines)


def _recalled(lines: list[str]) -> None:
    facts: dict[str, str] = {}
    for line in lines:
        mark, *rest = line.split(" ")
        if mark == "#":
            assert rest[0] not in facts
            facts[rest[0]] = rest[1]
        elif mark == "?":
            assert facts[rest[0]] == rest[1]


def _copied(lines: list[str]) -> None:
    shown = [line[1:] for line in lines if line.startswith(">")]
    assert all(line[1:] in shown for line in lines if line.startswith("="))


def _summed(lines: list[str]) -> None:
    for line in (line for line in lines if "+" in line):
        terms, total = line.split("=")
        assert sum(map(int, terms.split("+"))) == int(total)


def test_a_value_is_an_answer_only_where_it_is_asked_for(tokenizer: Tokenizer, tasks: Tasks) -> None:
    document = tasks.document("recall", 400, np.random.default_rng(3), 0.0)
    marks = {mark: tokenizer.encode(mark, add_special_tokens=False).ids[0] for mark in "#?"}
    asked = document.tokens == marks["?"]
    assert document.answers.sum() == asked[:-2].sum()
    assert (document.answers[2:] == asked[:-2]).all()


def test_batches_grow_to_the_context_and_continue_exactly(tasks: Tasks) -> None:
    batches = TaskBatches(tasks, TASKS, 512, 2, seed=4)
    assert [batches.length(done) for done in (0.0, 0.3, 0.5, 0.7, 1.0)] == [128, 128, 256, 512, 512]
    first, second = batches.next(0.0), batches.next(0.9)
    assert first[0].shape == (8, 128) and second[0].shape == (2, 512)
    again = TaskBatches(tasks, TASKS, 512, 2, seed=4)
    again.seek(batches.epoch, 1)
    assert all((a == b).all() for a, b in zip(again.next(0.9), second, strict=True))
    tokens, targets = second
    assert (targets[:, :-1][targets[:, :-1] != IGNORED] == tokens[:, 1:][targets[:, :-1] != IGNORED]).all()


def test_unknown_tasks_are_named() -> None:
    assert parse_tasks(" recall,copy ") == ("recall", "copy") and parse_tasks("") == ()
    with pytest.raises(ValueError, match="task 'sums': accepted: recall, copy, arithmetic"):
        parse_tasks("recall,sums")


def test_a_run_trains_on_tasks_and_counts_right_answers(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    random = np.random.default_rng(0)
    for seed in range(4):
        (tmp_path / f"book{seed}.md").write_text("\n\n".join(" ".join(random.choice(WORDS, 60)) for _ in range(40)))
    sizes = "--layers 1 --width 32 --heads 2 --kv-heads 1 --neurons 32 --context 64 --head-dim 32 --ffn swiglu".split()  # noqa: SIM905
    options = "--vocabulary 400 --batch 2 --fp32 --steps 6 --validate-every 3 --tasks recall,arithmetic".split()  # noqa: SIM905
    result = CliRunner().invoke(train_tiny, [str(tmp_path), "--run", str(tmp_path / "run"), *sizes, *options])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [set(line["accuracy"]) for line in lines] == [{"recall", "arithmetic", "text"}] * 2
    assert lines[-1]["task_loss"]["text"] < lines[0]["task_loss"]["text"]


def test_the_export_is_read_by_every_server_and_its_card_says_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    random = np.random.default_rng(0)
    for seed in range(4):
        (tmp_path / f"book{seed}.md").write_text("\n\n".join(" ".join(random.choice(WORDS, 60)) for _ in range(40)))
    sizes = "--layers 1 --width 32 --heads 2 --kv-heads 1 --neurons 32 --context 64 --head-dim 32 --ffn swiglu".split()  # noqa: SIM905
    options = "--vocabulary 400 --batch 2 --fp32 --steps 2 --validate-every 2 --tasks recall,copy --test".split()  # noqa: SIM905
    target = tmp_path / "tiny"
    arguments = [str(tmp_path), "--run", str(tmp_path / "run"), "--export", str(target), *sizes, *options]
    result = CliRunner().invoke(train_tiny, arguments)
    assert result.exit_code == 0 and "recall, 64 tokens:" in result.output, result.output
    config = open_checkpoint(target).config
    assert (config.head_dim, config.hidden_size, config.ffn) == (32, 32, "gated")
    card = (target / "MODEL_CARD.md").read_text()
    assert card.startswith("# tiny\n") and "| copy | 64 |" in card and "--tasks recall,copy" in card
