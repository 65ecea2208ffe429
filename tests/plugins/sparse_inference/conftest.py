"""A tiny dReLU model with random weights, written as the exporter writes a trained one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from fairlead_language_model.sampling import SamplingParameters
from fairlead_sparse_inference.engine import Engine, Failure, Finish, Piece, Request, SparseModel
from fairlead_sparse_inference.engine import Event as EngineEvent
from fairlead_sparse_inference.train.layout import write_checkpoint
from fairlead_sparse_inference.train.shape import ModelShape
from fairlead_sparse_inference.train.tokenizer import train_tokenizer
from tests.patience import patient

SHAPE = ModelShape(vocabulary=300, width=64, layers=2, heads=4, kv_heads=2, neurons=96, context=128)
TEXT = "The rain fell on the harbour all night. “Who is there?” said the pilot. “A friend,” said the boy. " * 20
WAIT_S = patient(60.0)


def random_weights(shape: ModelShape, seed: int) -> dict[str, np.ndarray]:
    """Draw weights for every tensor of a model; large enough that greedy choices are not near-ties."""
    random = np.random.default_rng(seed)
    kv_width = shape.kv_heads * shape.head_width
    sizes = {
        "self_attn.q_proj": (shape.width, shape.width),
        "self_attn.k_proj": (kv_width, shape.width),
        "self_attn.v_proj": (kv_width, shape.width),
        "self_attn.o_proj": (shape.width, shape.width),
        "mlp.gate_proj": (shape.neurons, shape.width),
        "mlp.up_proj": (shape.neurons, shape.width),
        "mlp.down_proj": (shape.width, shape.neurons),
    }
    weights = {"model.embed_tokens.weight": random.normal(0, 0.3, (shape.vocabulary, shape.width))}
    for layer in range(shape.layers):
        for name, size in sizes.items():
            weights[f"model.layers.{layer}.{name}.weight"] = random.normal(0, size[1] ** -0.5, size)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = random.uniform(0.5, 1.5, shape.width)
    weights["model.norm.weight"] = random.uniform(0.5, 1.5, shape.width)
    return weights


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny model."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer([TEXT], SHAPE.vocabulary)
    shape = ModelShape(**{**{name: getattr(SHAPE, name) for name in SHAPE.__slots__}, "vocabulary": 300})
    assert tokenizer.get_vocab_size() == shape.vocabulary
    write_checkpoint(folder, shape, random_weights(shape, 7), tokenizer)
    return folder


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> SparseModel:
    """The tiny model as the engine holds it."""
    return SparseModel.load(checkpoint)


@pytest.fixture
def make_engine(model: SparseModel) -> Iterator[Callable[..., Engine]]:
    """Makes engines over the tiny model and closes them."""
    made: list[Engine] = []

    def make(**options: object) -> Engine:
        made.append(Engine(model, **options))  # pyright: ignore[reportArgumentType]
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@dataclass
class Collected:
    """A sink that keeps what it is told; `done` is set by the last event."""

    pieces: list[Piece] = field(default_factory=list)
    finish: Finish | None = None
    failure: Failure | None = None
    done: Event = field(default_factory=Event)

    def __call__(self, event: EngineEvent) -> None:
        if isinstance(event, Piece):
            self.pieces.append(event)
            return
        self.finish = event if isinstance(event, Finish) else None
        self.failure = event if isinstance(event, Failure) else None
        self.done.set()

    def wait(self) -> Collected:
        """Wait for the end."""
        assert self.done.wait(WAIT_S), "the generation did not end"
        return self

    @property
    def tokens(self) -> list[int]:
        """The tokens that were reported."""
        return [piece.token for piece in self.pieces]

    @property
    def text(self) -> str:
        """The text that was reported."""
        return "".join(piece.text for piece in self.pieces) + (self.finish.text if self.finish else "")


class Held(Collected):
    """A sink that holds the engine up at a piece until it is let go: what a test does then comes before the next one,
    however late the test's own thread has its turn.
    """

    def __init__(self, piece: int = 1) -> None:
        super().__init__()
        self._piece, self._reached, self._go = piece, Event(), Event()

    def __call__(self, event: EngineEvent) -> None:
        super().__call__(event)
        if isinstance(event, Piece) and len(self.pieces) == self._piece:
            self._reached.set()
            self._go.wait(WAIT_S)

    def reached(self) -> None:
        """Wait until the engine is held up."""
        assert self._reached.wait(WAIT_S), "the piece did not come"

    def let_go(self) -> None:
        """Let the engine go on."""
        self._go.set()


def resize_held(engine: Engine, held: Held, memory_bytes: int) -> None:
    """Resize an engine that is held up: it is asked before its next turn."""
    held.reached()
    with ThreadPoolExecutor(1) as pool:
        resized = pool.submit(engine.resize, memory_bytes)
        while not (engine._jobs or resized.done()):
            time.sleep(0.001)
        held.let_go()
        resized.result(WAIT_S)


def greedy(prompt: list[int], max_tokens: int = 20, **settings: object) -> Request:
    """A request that takes the most likely token."""
    parameters = SamplingParameters(temperature=0, **settings)  # pyright: ignore[reportArgumentType]
    return Request(tuple(prompt), parameters, max_tokens)


def run(engine: Engine, request: Request) -> Collected:
    """Run one request to its end."""
    collected = Collected()
    engine.submit(request, collected)
    return collected.wait()
