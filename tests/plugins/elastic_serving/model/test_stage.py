"""A stage over pages gives the logits of transformers' models, whatever is computed together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the stage computes in torch")

from fairlead_elastic_serving.arena.page_tables import PageTables  # noqa: E402
from fairlead_elastic_serving.errors import ModelUnsupported  # noqa: E402
from fairlead_elastic_serving.kernels.backends import backend  # noqa: E402
from fairlead_elastic_serving.memory import PageMemory  # noqa: E402
from fairlead_elastic_serving.model.attention import PagedAttention, raw_tiers  # noqa: E402
from fairlead_elastic_serving.model.batch import Batch  # noqa: E402
from fairlead_elastic_serving.model.loading import LoadedModel, load_model  # noqa: E402
from fairlead_elastic_serving.model.stage import Stage  # noqa: E402
from fairlead_language_model.errors import CheckpointError  # noqa: E402
from tests.plugins.elastic_serving.random_models import FAMILIES, RandomModel, some_tokens  # noqa: E402

PAGE_BYTES = 1024


@dataclass
class Sequences:
    """Sequences of one stage that holds all layers."""

    loaded: LoadedModel
    stage: Stage
    tables: PageTables
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, directory: Path, dtype: torch.dtype = torch.float32) -> Sequences:
        loaded = load_model(directory, 400, PAGE_BYTES, dtype)
        config = loaded.checkpoint.config
        tiers = raw_tiers(config, dtype, PAGE_BYTES)
        width = tiers.high.pages_for(160)
        tables = PageTables(loaded.arena, 30, width, (tiers.high.tokens, tiers.low.tokens))
        attention = PagedAttention(config, loaded.memory, tables, tiers, backend("cpu"))
        return cls(loaded, Stage(config, loaded.layers, loaded.ends, attention, 160), tables)

    def step(self, chunks: dict[str, list[int]]) -> np.ndarray:
        """Compute a chunk of each sequence; return logits after every token."""
        config = self.loaded.checkpoint.config
        heads = config.num_hidden_layers * config.num_key_value_heads
        for name, chunk in chunks.items():
            if name not in self.rows:
                self.rows[name] = self.tables.open(heads)
            rows = self.rows[name]
            end = self.stored.setdefault(name, 0) + len(chunk)
            self.tables.resize(rows, np.tile(np.array([end, 0], np.int32), (heads, 1)))
        lengths = [len(chunk) for chunk in chunks.values()]
        stored = np.array([self.stored[name] for name in chunks], np.int32)
        positions = [np.arange(first, first + length) for first, length in zip(stored, lengths, strict=True)]
        batch = Batch(
            names=tuple(chunks),
            tokens=np.concatenate([np.array(chunk, np.int64) for chunk in chunks.values()]),
            positions=np.concatenate(positions).astype(np.int32),
            starts=np.cumsum([0, *lengths]).astype(np.int32),
            rows=np.stack([self.rows[name].reshape(config.num_hidden_layers, -1) for name in chunks]),
            stored=stored,
            samples=np.arange(sum(lengths), dtype=np.int32),
        )
        hidden = self.stage.run(batch, self.stage.embed(batch), range(config.num_hidden_layers))
        for name, length in zip(chunks, lengths, strict=True):
            self.stored[name] += length
        return self.stage.sampled(batch, hidden).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_of_several_sequences_have_the_reference_logits(family: str, tmp_path: Path) -> None:
    theirs, tokens = RandomModel(family, tmp_path), {"a": some_tokens(70, 1), "b": some_tokens(33, 2)}
    ours = Sequences.of(tmp_path)
    found = {name: [] for name in tokens}
    # Prompts longer than a page and a chunk, of unlike lengths; then single tokens of both beside each other.
    for cut_a, cut_b in [((0, 30), (0, 7)), ((30, 69), (7, 31)), ((69, 70), (31, 32)), ((70, 70), (32, 33))]:
        cuts = {"a": tokens["a"][slice(*cut_a)], "b": tokens["b"][slice(*cut_b)]}
        chunks = {name: chunk for name, chunk in cuts.items() if chunk}
        rows = ours.step(chunks)
        for name, chunk in chunks.items():
            found[name].append(rows[: len(chunk)])
            rows = rows[len(chunk) :]
    for name, parts in found.items():
        np.testing.assert_allclose(np.concatenate(parts), theirs.logits(tokens[name]), rtol=2e-4, atol=2e-4)


def test_bfloat16_stays_near_the_reference(tmp_path: Path) -> None:
    theirs, tokens = RandomModel("llama", tmp_path), some_tokens(40)
    logits, wanted = Sequences.of(tmp_path, torch.bfloat16).step({"a": tokens}), theirs.logits(tokens)
    assert np.corrcoef(logits.ravel(), wanted.ravel())[0, 1] > 0.995


def test_a_layer_that_was_overwritten_is_read_again(tmp_path: Path) -> None:
    theirs, tokens = RandomModel("llama", tmp_path), some_tokens(20)
    ours = Sequences.of(tmp_path)
    arena, memory = ours.loaded.arena, ours.loaded.memory
    arena.drop([1])
    memory.layer(arena.layer_range(1)).fill_(255)
    arena.restore(1)
    ours.loaded.load_layer(1)
    ours.stage.layers[1] = ours.loaded.layers[1]
    np.testing.assert_allclose(ours.step({"a": tokens}), theirs.logits(tokens), rtol=2e-4, atol=2e-4)


def test_weights_lie_in_the_last_pages_and_nowhere_else(tmp_path: Path) -> None:
    RandomModel("llama", tmp_path)
    loaded = load_model(tmp_path, 10, PAGE_BYTES)
    assert not loaded.memory.pages[:10].any()
    at = loaded.memory.layer(loaded.arena.layer_range(2)).data_ptr()
    inside = [view.data_ptr() - at for view in loaded.layers[2].weights.values()]
    assert min(inside) == 0 and max(inside) < loaded.layout.layer_bytes <= loaded.layout.pages(PAGE_BYTES) * PAGE_BYTES


def test_a_missing_tensor_is_named_with_its_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    RandomModel("llama", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    shape = tensors["model.layers.1.mlp.up_proj.weight"].shape
    tensors["model.layers.1.mlp.up_proj.weight"] = np.zeros((shape[0] + 1, shape[1]), np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"{tmp_path}.*layers\.1\.mlp\.up_proj.*asks for \(48, 32\)"):
        load_model(tmp_path, 10, PAGE_BYTES)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight: is missing"):
        load_model(tmp_path, 10, PAGE_BYTES)


def test_a_model_with_other_parts_is_refused_by_name(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers writes the model")
    config = transformers.OPTConfig(
        vocab_size=97, hidden_size=32, ffn_dim=48, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelUnsupported, match="'opt' has layer normalization"):
        load_model(tmp_path, 10, PAGE_BYTES)


def test_memory_that_is_given_back_reads_as_zeros() -> None:
    memory = PageMemory(8, 4096)
    memory.pages[:] = 7
    memory.discard(np.array([5, 1, 2]))
    assert [bool(page.any()) for page in memory.pages] == [True, False, False, True, True, False, True, True]
    memory.read_often(range(3, 8))
    memory.read_often(range(3, 3))
    assert memory.pages[3].all() and not memory.pages[5].any(), "advice changes no byte"
    with pytest.raises(ValueError, match="page_bytes 100"):
        PageMemory(1, 100)
