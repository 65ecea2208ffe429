"""Builds a tokenizer from the vocabulary in a GGUF file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from ..errors import ChatTemplateError, TokenizerError, one_of, shown
from ..gguf_file import GgufFile
from ..narrowing import as_list
from .chat_template import ChatTemplate
from .tokenizer import Tokenizer
from .tokenizers_errors import library_errors

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
_PRE_TOKENIZERS: dict[str, str | None] = {
    "default": None,
    "gpt-2": None,
    "llama-bpe": _LLAMA3_SPLIT,
    "llama3": _LLAMA3_SPLIT,
    "llama-v3": _LLAMA3_SPLIT,
    "qwen2": _QWEN2_SPLIT,
}


def tokenizer_from_gguf(file: GgufFile) -> Tokenizer:
    """Build the tokenizer of a GGUF file: SentencePiece BPE ("llama") or byte-level BPE ("gpt2").

    Raises TokenizerError for another kind or a broken vocabulary, ChatTemplateError for a malformed template.
    """
    metadata = file.metadata
    kind = metadata.get("tokenizer.ggml.model")
    builders: dict[str, Callable[[_Vocabulary], tokenizers.Tokenizer]] = {"llama": _sentencepiece, "gpt2": _byte_level}
    if not isinstance(kind, str) or kind not in builders:
        raise TokenizerError(f"{file.path}: tokenizer.ggml.model = {shown(kind)}; accepted: {one_of(builders)}")
    vocabulary = _Vocabulary(file)
    with library_errors(file.path, "tokenizer.ggml"):
        core = builders[kind](vocabulary)
        vocabulary.add_special_tokens(core)
    begin = vocabulary.token("bos")
    if metadata.get("tokenizer.ggml.add_bos_token", kind == "llama") and begin is not None:
        single = (vocabulary.tokens[begin], begin)
        core.post_processor = processors.TemplateProcessing(single=f"{single[0]} $A", special_tokens=[single])
    ends = [vocabulary.token(name) for name in ("eos", "eot")]
    return Tokenizer(
        core,
        bos_token_id=begin,
        eos_token_ids=[end for end in ends if end is not None],
        chat_template=_chat_template(metadata, vocabulary),
        source=file.path,
    )


class _Vocabulary:
    """The parts of a GGUF vocabulary, checked against each other."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.tokens: list[str] = self._list("tokens")
        self.types: Sequence[int] = self._parallel("token_type", 1)
        self.scores: Sequence[float] = self._parallel("scores", 0.0)
        # A token that appears twice keeps its first id, as in llama.cpp.
        self.ids = {token: i for i, token in reversed(list(enumerate(self.tokens)))}

    def get(self, key: str, default: Any = None) -> Any:
        return self.file.metadata.get(f"tokenizer.ggml.{key}", default)

    def token(self, name: str) -> int | None:
        found = self.get(f"{name}_token_id")
        if found is None:
            return None
        if not isinstance(found, int) or not 0 <= found < len(self.tokens):
            raise self.error(f"{name}_token_id", found, f"an id below {len(self.tokens)}")
        return found

    def merges(self) -> list[tuple[str, str]]:
        pairs = [tuple(merge.split(" ")) for merge in self._list("merges")]
        broken = next((pair for pair in pairs if len(pair) != 2), None)
        if broken is not None:
            raise self.error("merges", broken, "pairs of tokens with one space between")
        return [(pair[0], pair[1]) for pair in pairs]

    def add_special_tokens(self, core: tokenizers.Tokenizer) -> None:
        named = zip(self.tokens, self.types, strict=True)
        marked = [(token, kind) for token, kind in named if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED) and token]
        adding: Any = core
        adding.add_special_tokens(
            [AddedToken(t, normalized=False, special=True) for t, k in marked if k != _USER_DEFINED]
        )
        adding.add_tokens([AddedToken(t, normalized=False, special=False) for t, k in marked if k == _USER_DEFINED])

    def error(self, key: str, value: object, accepted: str) -> TokenizerError:
        return TokenizerError(f"{self.file.path}: tokenizer.ggml.{key} = {shown(value)}; accepted: {accepted}")

    def _list(self, key: str) -> list[str]:
        values = as_list(self.get(key))
        if not values or not isinstance(values[0], str):
            raise self.error(key, self.get(key), "a list of strings")
        return values

    def _parallel(self, key: str, default: float) -> Sequence[Any]:
        if self.get(key) is None:
            return [default] * len(self.tokens)
        values = as_list(self.get(key))
        if values is None or len(values) != len(self.tokens) or isinstance(values[0], str):
            raise self.error(key, self.get(key), f"an array of {len(self.tokens)} numbers")
        return values


def _sentencepiece(vocabulary: _Vocabulary) -> tokenizers.Tokenizer:
    unknown = next((t for t, k in zip(vocabulary.tokens, vocabulary.types, strict=True) if k == _UNKNOWN), None)
    model = models.BPE(
        vocab=vocabulary.ids,
        merges=_merges_by_score(vocabulary),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback="<0x00>" in vocabulary.ids,
    )
    core = tokenizers.Tokenizer(model)
    prefix = bool(vocabulary.get("add_space_prefix", True))
    marked = normalizers.Replace(" ", "▁")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), marked]) if prefix else marked
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return core


def _merges_by_score(vocabulary: _Vocabulary) -> list[tuple[str, str]]:
    """Return the pairs that make up each token, best score first: what SentencePiece merges in its greedy order."""
    ids, scores = vocabulary.ids, vocabulary.scores
    pairs: list[tuple[float, int, int, tuple[str, str]]] = []
    for token, merged in ids.items():
        for cut in range(1, len(token)):
            left, right = ids.get(token[:cut]), ids.get(token[cut:])
            if left is not None and right is not None:
                pairs.append((-scores[merged], left, right, (token[:cut], token[cut:])))
    return [pair for *_, pair in sorted(pairs)]


def _byte_level(vocabulary: _Vocabulary) -> tokenizers.Tokenizer:
    pre = vocabulary.get("pre", "default")
    if not isinstance(pre, str) or pre not in _PRE_TOKENIZERS:
        raise vocabulary.error("pre", pre, one_of(_PRE_TOKENIZERS))
    split = _PRE_TOKENIZERS[pre]
    try:
        # Llama 3's vocabulary holds whole words that its merges cannot reach.
        model = models.BPE(vocab=vocabulary.ids, merges=vocabulary.merges(), ignore_merges=split == _LLAMA3_SPLIT)
    except Exception as error:
        # The library raises bare Exception for a merge that is not in the vocabulary.
        raise vocabulary.error("merges", str(error), "pairs of tokens of the vocabulary") from error
    core = tokenizers.Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    if split is not None:
        cutter = pre_tokenizers.Split(Regex(split), behavior="isolated")
        core.pre_tokenizer = pre_tokenizers.Sequence([cutter, byte_level])
    else:
        core.pre_tokenizer = byte_level
    if split == _QWEN2_SPLIT:
        core.normalizer = normalizers.NFC()
    core.decoder = decoders.ByteLevel()
    return core


def _chat_template(metadata: Mapping[str, Any], vocabulary: _Vocabulary) -> ChatTemplate | None:
    named = {"bos_token": vocabulary.token("bos"), "eos_token": vocabulary.token("eos")}
    special = {name: vocabulary.tokens[i] for name, i in named.items() if i is not None}
    source = metadata.get("tokenizer.chat_template")
    try:
        if isinstance(source, str):
            return ChatTemplate(source, special)
        return ChatTemplate.built_in(frozenset(vocabulary.ids), special)
    except ChatTemplateError as error:
        raise ChatTemplateError(f"{vocabulary.file.path}: {error}") from error
