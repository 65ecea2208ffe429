"""The training command on a tiny corpus: split, resume, stop, export."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS
from fairlead_sparse_inference.train.batches import Batches, windows
from fairlead_sparse_inference.train.command import train_tiny
from fairlead_sparse_inference.train.corpus import Book, CorpusError, read_books, split, strip_header
from fairlead_sparse_inference.train.dialogue import conversations
from fairlead_sparse_inference.train.schedule import learning_rate, progress
from fairlead_sparse_inference.train.shape import ModelShape
from fairlead_sparse_inference.train.tokenizer import render, train_tokenizer
from tests.patience import patient

WORDS = "the ship lay at anchor in a quiet bay while men sang old songs and the wind turned north".split()  # noqa: SIM905
SIZES = "--layers 2 --width 64 --heads 4 --kv-heads 2 --neurons 96 --context 32".split()  # noqa: SIM905


def book(seed: int) -> str:
    random = np.random.default_rng(seed)
    paragraphs = [" ".join(random.choice(WORDS, 40)).capitalize() + "." for _ in range(30)]
    talk = ['"Who sails north?" he asked.', '"We do," said the men.'] * 3
    header = f"# Title: Book {seed}\n\n## Author: Nobody\n\n## Year: 1900\n\n-------\n\n"
    return header + "\n\n".join([*paragraphs, *talk])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    for seed in range(4):
        (folder / f"book{seed}.md").write_text(book(seed))
    return folder


def train(corpus: Path, run: Path, *options: str) -> str:
    arguments = [str(corpus), "--run", str(run), "--vocabulary", "300", "--batch", "4", "--fp32", *SIZES, *options]
    result = CliRunner().invoke(train_tiny, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_training_learns_logs_resumes_and_exports(corpus: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    run, target = tmp_path / "run", tmp_path / "model"
    train(corpus, run, "--steps", "20", "--validate-every", "10")
    assert "resuming" in train(
        corpus, run, "--steps", "40", "--validate-every", "20", "--export", str(target), "--test"
    )
    log = log_of(run)
    assert [line["step"] for line in log] == [10, 20, 40]
    assert log[-1]["tokens"] == 40 * 4 * 32
    assert log[-1]["validation_loss"] < log[0]["validation_loss"] - 0.3
    assert len(log[-1]["gate_sparsity"]) == 2 and all(0 < share < 1 for share in log[-1]["gate_sparsity"])

    from fairlead_sparse_inference.engine import SparseModel
    from fairlead_sparse_inference.train.export import load_exported
    from fairlead_sparse_inference.train.loop import load_model

    trained, _ = load_model(run / "best.pt")
    tokens = torch.tensor([[0, 9, 40, 80, 7]])
    with torch.no_grad():
        exported, original = load_exported(target)(tokens), trained(tokens)
    assert float((exported - original).abs().max()) < 0.15 * float(original.std())
    config = json.loads((target / "config.json").read_text())
    assert config["fairlead"]["ffn"] == "drelu" and len(config["fairlead"]["gate_sparsity"]) == 2
    card = (target / "MODEL_CARD.md").read_text()
    assert "test, Q8_0" in card and "40 steps" in card
    assert SparseModel.load(target).tokenizer.encode("the ship")[0] == 0


def test_the_swiglu_twin_is_trained_exported_and_read_as_such(corpus: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from fairlead_language_model.graph import LlamaGraph, PageTable
    from fairlead_sparse_inference.train.export import load_exported

    target = tmp_path / "twin"
    train(corpus, tmp_path / "run", "--ffn", "swiglu", "--steps", "4", "--export", str(target))
    config = json.loads((target / "config.json").read_text())
    assert (config["hidden_act"], config["fairlead"]["ffn"]) == ("silu", "gated")
    assert config["fairlead"]["gate_sparsity"] == [0.0, 0.0]
    graph, tokens = LlamaGraph.load(target), [0, 9, 40, 80, 7]
    logits = graph.forward(tokens, graph.pages(8), PageTable())
    with torch.no_grad():
        expected = load_exported(target)(torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-3)


def test_named_books_are_the_ones_that_are_kept_apart() -> None:
    books = [Book(f"book{i}", "text") for i in range(30)]
    found = split(books, {"validation": ["book7"], "test": ["book3", "book4"]})
    assert [book.name for book in found.validation] == ["book7"]
    assert sorted(book.name for book in found.test) == ["book3", "book4"]
    assert len(found.train) == 27 and found.by == "book"
    with pytest.raises(CorpusError, match="book99"):
        split(books, {"validation": ["book7"], "test": ["book99"]})
    with pytest.raises(CorpusError, match="validation"):
        split(books, {"validation": [], "test": ["book3"]})


def test_a_device_and_a_dropout_that_cannot_be_are_refused(corpus: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    options = [str(corpus), "--run", str(tmp_path / "run"), "--vocabulary", "300", "--steps", "1", *SIZES]
    result = CliRunner().invoke(train_tiny, [*options, "--dropout", "1.5", "--device", "cpu"])
    assert result.exit_code == 1 and "dropout = 1.5" in result.output
    if not torch.cuda.is_available():
        result = CliRunner().invoke(train_tiny, [*options, "--device", "cuda"])
        assert result.exit_code == 1 and "sees no GPU" in result.output


def test_dropout_leaves_scoring_alone(corpus: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from fairlead_sparse_inference.train.loop import load_model
    from fairlead_sparse_inference.train.model import LlamaDrelu

    train(corpus, tmp_path / "run", "--steps", "2", "--dropout", "0.5", "--device", "cpu")
    trained, state = load_model(tmp_path / "run" / "best.pt")
    assert state["recipe"]["dropout"] == 0.5 and "cores of" in state["hardware"]
    scored = LlamaDrelu(trained.shape, dropout=0.5)
    scored.load_state_dict(trained.state_dict())
    tokens = torch.tensor([[0, 9, 40, 80, 7]])
    with torch.no_grad():
        assert torch.equal(scored.eval()(tokens), trained(tokens))
        assert not torch.equal(scored.train()(tokens), trained(tokens))


def test_a_resumed_run_continues_as_an_uninterrupted_one(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from fairlead_sparse_inference.train.loop import load_model

    train(corpus, tmp_path / "whole", "--steps", "12", "--validate-every", "6")
    # The schedule depends on the share that is done, so an interrupted run is one whose process ended early.
    script = (
        "import sys\n"
        "from fairlead_sparse_inference.train import loop\n"
        "original = loop.Loop._check\n"
        "def check(self, rate):\n"
        "    original(self, rate)\n"
        "    sys.exit(3)\n"
        "loop.Loop._check = check\n"
        "from fairlead_sparse_inference.train.command import train_tiny\n"
        "train_tiny()\n"
    )
    options = [str(corpus), "--run", str(tmp_path / "parts"), "--vocabulary", "300", "--batch", "4", "--fp32", *SIZES]
    ended = subprocess.run(
        [sys.executable, "-c", script, *options, "--steps", "12", "--validate-every", "6"],
        capture_output=True,
        text=True,
        timeout=patient(100),
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert "resuming" in train(corpus, tmp_path / "parts", "--steps", "12", "--validate-every", "6")
    whole, parts = (load_model(tmp_path / name / "last.pt")[0].state_dict() for name in ("whole", "parts"))
    assert all((whole[name] - parts[name]).abs().max() < 1e-5 for name in whole)


def test_training_stops_when_validation_no_longer_improves(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    options = ["--steps", "500", "--validate-every", "2", "--patience", "2", "--peak-rate", "10.0"]
    train(corpus, tmp_path / "run", *options)
    assert log_of(tmp_path / "run")[-1]["step"] < 500


def test_a_time_limit_ends_the_run(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    train(corpus, tmp_path / "run", "--minutes", "0.02")
    last = log_of(tmp_path / "run")[-1]
    assert 1.2 <= last["elapsed_s"] < patient(60)


def test_another_shape_does_not_resume(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    train(corpus, tmp_path / "run", "--steps", "1")
    arguments = [
        str(corpus),
        "--run",
        str(tmp_path / "run"),
        "--batch",
        "4",
        "--fp32",
        *SIZES,
        "--vocabulary",
        "300",
        "--layers",
        "3",
        "--steps",
        "2",
    ]
    result = CliRunner().invoke(train_tiny, arguments)
    assert result.exit_code == 1
    assert "holds a model of shape" in result.output


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--steps", "-1"), "'--steps': -1 is not in the range"),
        (("--batch", "0"), "'--batch': 0 is not in the range"),
        (("--context", "0"), "'--context': 0 is not in the range"),
        (("--vocabulary", "70000"), "'--vocabulary': 70000 is not in the range"),
        (("--vocabulary", "3"), "a byte-level BPE needs at least"),
        (("--export-only", "--export", "model"), "holds no run"),
    ],
)
def test_options_that_cannot_be_are_one_line(corpus: Path, tmp_path: Path, option: tuple[str, ...], says: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    result = CliRunner().invoke(train_tiny, [str(corpus), "--run", str(tmp_path / "run"), *option])
    assert result.exit_code in (1, 2) and says in result.output
    assert isinstance(result.exception, SystemExit), "no traceback"


def test_the_default_sizes_are_those_of_the_shipped_model() -> None:
    shipped = json.loads((MODELS / DEFAULT_MODEL / "config.json").read_text())
    names = {
        "layers": "num_hidden_layers",
        "width": "hidden_size",
        "heads": "num_attention_heads",
        "kv_heads": "num_key_value_heads",
        "neurons": "intermediate_size",
        "context": "max_position_embeddings",
        "vocabulary": "vocab_size",
    }
    defaults = {option.name: option.default for option in train_tiny.params}
    assert {name: defaults[name] for name in names} == {name: shipped[stored] for name, stored in names.items()}
    assert {name: getattr(ModelShape(), name) for name in names} == {name: defaults[name] for name in names}
    card = (MODELS / DEFAULT_MODEL / "MODEL_CARD.md").read_text()
    assert f"--batch {defaults['batch']} --optimizer {defaults['optimizer']}" in card


def test_a_run_keeps_its_vocabulary(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    train(corpus, tmp_path / "run", "--steps", "1")
    arguments = [str(corpus), "--run", str(tmp_path / "run"), "--vocabulary", "310", *SIZES, "--steps", "2"]
    result = CliRunner().invoke(train_tiny, arguments)
    assert result.exit_code == 1 and "was prepared with --vocabulary 300, not 310" in result.output


def test_without_pytorch_the_command_says_how_to_get_it(corpus: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from fairlead_sparse_inference.train.command import train_tiny; train_tiny()"
    )
    command = [sys.executable, "-c", script, str(corpus), "--run", str(tmp_path / "run"), "--steps", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
    assert result.returncode == 1
    assert "pip install torch" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_corpus_is_read_alike_from_a_folder_and_an_archive(corpus: Path, tmp_path: Path) -> None:
    archive = tmp_path / "books.tar.xz"
    with tarfile.open(archive, "w:xz") as opened:
        opened.add(corpus, "books")
    assert read_books(archive) == read_books(corpus)
    assert not any("Author" in book.text for book in read_books(corpus))


def test_a_corpus_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no \.md file"):
        read_books(tmp_path)
    with pytest.raises(CorpusError, match="expected a directory"):
        read_books(tmp_path / "nothing")


def test_headers_go_and_the_text_stays() -> None:
    titled = "# Title: A\n\n## Author: B\n\n-----\n\n### CHAPTER I\n\nHe came."
    assert strip_header(titled) == "### CHAPTER I\n\nHe came."
    edges = [f"*** {edge} OF THE PROJECT GUTENBERG EBOOK X ***" for edge in ("START", "END")]
    assert strip_header(f"License\n{edges[0]}\nText.\n{edges[1]}\nMore") == "Text."


@given(st.lists(st.integers(100, 5000), min_size=1, max_size=40))
def test_the_parts_of_a_split_are_whole_and_disjoint(sizes: list[int]) -> None:
    books = [Book(f"b{i}", "x" * size) for i, size in enumerate(sizes)]
    corpus = split(books)
    parts = (corpus.train, corpus.validation, corpus.test)
    assert sum(len(book.text) for part in parts for book in part) == sum(sizes)
    if corpus.by == "book":
        names = [book.name for part in parts for book in part]
        assert sorted(names) == sorted(book.name for book in books)
        assert split(books[::-1]) == corpus or {b.name for b in split(books[::-1]).test} == {
            b.name for b in corpus.test
        }


def test_conversations_are_runs_of_paragraphs_that_begin_with_speech() -> None:
    text = 'He rose.\n\n"Who is it?" he said. "Speak!"\n\n“A friend,” she said.\n\nSilence.\n\n"Alone?"\n\nThe end.'
    assert list(conversations(text)) == [["Who is it? Speak!", "A friend,"]]
    assert render(["A", "B"]) == "<|bos|><|user|>A<|end|><|assistant|>B<|end|><|eos|>"


@given(st.text(max_size=200))
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = train_tokenizer([" ".join(WORDS)], 300)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_batches_continue_where_they_were() -> None:
    stream = np.arange(1000, dtype=np.uint16)
    first, second = Batches(stream, 10, 4, seed=3), Batches(stream, 10, 4, seed=3)
    for _ in range(40):
        first.next()
    second.seek(first.epoch, first.index)
    assert first.epoch > 0
    inputs, targets = first.next()
    np.testing.assert_array_equal(inputs, second.next()[0])
    np.testing.assert_array_equal(targets, inputs + 1)
    with pytest.raises(ValueError, match="needs at least"):
        Batches(stream[:20], 10, 4, seed=3)


def test_held_out_windows_do_not_overlap() -> None:
    rows = windows(np.arange(101, dtype=np.uint16), 10)
    assert rows.shape == (10, 11)
    assert rows[1, 0] == rows[0, -1]


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_learning_rate_rises_then_falls_to_its_floor(a: float, b: float) -> None:
    low, high = sorted((a, b))
    if low >= 0.02:
        assert learning_rate(high, 1.0, 0.1) <= learning_rate(low, 1.0, 0.1) + 1e-12
    assert learning_rate(1.0, 1.0, 0.1) == pytest.approx(0.1)
    assert 0 < learning_rate(low, 1.0, 0.1) <= 1.0


def test_the_nearer_limit_ends_a_run() -> None:
    assert progress(30, 60, 10, 100) == 0.5
    assert progress(30, 60, 90, 100) == 0.9
    assert progress(90, 60, 0, None) == 1.0


def test_a_run_starts_from_an_exported_checkpoint_with_muon(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    first, target, second = tmp_path / "first", tmp_path / "model", tmp_path / "second"
    train(corpus, first, "--steps", "40", "--validate-every", "40", "--export", str(target))
    muon = ["--optimizer", "muon", "--init", str(target), "--peak-rate", "0.001"]
    train(corpus, second, "--steps", "10", "--validate-every", "5", *muon, "--export", str(tmp_path / "further"))
    assert log_of(second)[0]["validation_loss"] < log_of(first)[0]["validation_loss"] + 0.1
    card = (tmp_path / "further" / "MODEL_CARD.md").read_text()
    assert "Muon" in card and "Started from the weights of an earlier version (model)" in card
    wrong = [
        str(corpus),
        "--run",
        str(tmp_path / "wrong"),
        "--vocabulary",
        "300",
        *SIZES,
        "--layers",
        "1",
        "--steps",
        "1",
    ]
    result = CliRunner().invoke(train_tiny, [*wrong, "--init", str(target)])
    assert result.exit_code == 1 and "holds a model of shape" in result.output
