"""A model's tokenizer: `tokenizers` underneath, with streaming and chat on top."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

import tokenizers

from ..chat_message import ChatMessage
from ..config import ModelConfig
from ..errors import ChatTemplateError, TokenizerError, shown
from .chat_template import ChatTemplate
from .special_token_mask import SpecialTokenMask
from .stream_decoder import StreamDecoder
from .token_bytes import TokenBytes
from .tokenizers_errors import library_errors

#: Far beyond any vocabulary. What the library writes of one takes time and memory by its greatest id.
MOST_TOKENS = 1 << 22


class Tokenizer:
    """Encodes, decodes, and renders chats.

    `bos_token_id` is None where the model has none; `eos_token_ids` are the tokens that end a generation. `source`
    names the file in errors.
    """

    def __init__(
        self,
        core: tokenizers.Tokenizer,
        *,
        bos_token_id: int | None = None,
        eos_token_ids: Iterable[int] = (),
        chat_template: ChatTemplate | None = None,
        source: Path | str = "tokenizer",
    ) -> None:
        core.no_truncation()
        core.no_padding()
        _refuse_ids(core)
        self.core, self.source = core, source
        self.bytes = TokenBytes(core)
        self.bos_token_id = bos_token_id
        self.eos_token_ids = frozenset(eos_token_ids)
        self.chat_template = chat_template

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return self.core.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True) -> list[int]:
        """Return the tokens of a text.

        `add_special_tokens` lets the tokenizer put its begin-of-text token in front; without `parse_special` a special
        token's name in the text is plain text.
        """
        core = self.core if parse_special else self._plain
        try:
            with library_errors(self.source, "cannot encode this text"):
                return core.encode(text, add_special_tokens=add_special_tokens).ids
        except TokenizerError as error:
            # The library says that such a text "must be str".
            if isinstance(error.__cause__, UnicodeEncodeError | TypeError):
                raise TokenizerError("text holds a lone surrogate; accepted: text that UTF-8 can hold") from error
            raise

    def encode_chat(
        self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = True, now: datetime | None = None
    ) -> list[int]:
        """Return the prompt's tokens for a conversation; special tokens in the messages stay plain text.

        Raises ChatTemplateError where the model has no template or its template refuses the messages.
        """
        if self.chat_template is None:
            raise ChatTemplateError("this model has no chat template: use plain completions")
        mask = SpecialTokenMask(self.special_tokens.keys(), messages)
        text = self.chat_template.render(mask.messages, add_generation_prompt=add_generation_prompt, now=now)
        if not mask.needed:
            return self.encode(text, add_special_tokens=False)
        return [token for piece, special in mask.split(text) for token in self._encode_piece(piece, special)]

    def decode(self, tokens: Iterable[int], *, skip_special: bool = True) -> str:
        """Return the text of tokens that begin a text."""
        stream = self.stream(skip_special=skip_special, starts_text=True)
        return "".join([*map(stream.feed, tokens), stream.flush()])

    def stream(self, *, skip_special: bool = True, starts_text: bool = False) -> StreamDecoder:
        """Return a decoder for tokens that come one by one, by default after a prompt."""
        return StreamDecoder(self.bytes, skip_special=skip_special, starts_text=starts_text)

    def token_text(self, token: int) -> str:
        """Return one token as text, for display: what is no whole character becomes U+FFFD."""
        return self.bytes[token].decode("utf-8", errors="replace")

    def require_fit(self, config: ModelConfig, path: Path | str) -> None:
        """Raise TokenizerError unless every token, and every end token that the model names, has a row to embed it."""
        ids = self.core.get_vocab(with_added_tokens=True)
        last = max(ids, key=ids.__getitem__, default=None)
        if last is not None and ids[last] >= config.vocab_size:
            raise TokenizerError(
                f"{path}: token {shown(last)} has the id {ids[last]}; accepted: below vocab_size {config.vocab_size}: "
                "is this another model's tokenizer?"
            )
        named = {"bos_token_id": [self.bos_token_id], "eos_token_id": [*config.eos_token_ids, *self.eos_token_ids]}
        for field, values in named.items():
            outside = [i for i in values if i is not None and not 0 <= i < config.vocab_size]
            if outside:
                raise TokenizerError(f"{path}: {field} = {outside[0]}; accepted: 0 to {config.vocab_size - 1}")

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Names and ids of the special tokens."""
        return {token.content: i for i, token in self.core.get_added_tokens_decoder().items() if token.special}

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        # A second copy, as the flag belongs to the tokenizer and requests run side by side.
        with library_errors(self.source, "cannot be copied"):
            plain = tokenizers.Tokenizer.from_str(self.core.to_str())
        plain.encode_special_tokens = True
        return plain

    def _encode_piece(self, piece: str, special: bool) -> list[int]:
        if special:
            return [self.special_tokens[piece]]
        return self.encode(piece, add_special_tokens=False, parse_special=False) if piece else []


def open_tokenizer(path: Path | str, config: ModelConfig | None = None) -> Tokenizer:
    """Open the tokenizer of a directory in Hugging Face's layout (tokenizer.json) or of a .gguf file.

    With a config, a tokenizer whose tokens the model cannot embed is refused. Raises TokenizerError, CheckpointError
    or ChatTemplateError.
    """
    from ..gguf_file import GgufFile
    from .gguf_vocabulary import tokenizer_from_gguf
    from .hf_tokenizer import tokenizer_from_directory

    path = Path(path)
    tokenizer = tokenizer_from_gguf(GgufFile(path)) if path.suffix == ".gguf" else tokenizer_from_directory(path)
    if config is not None:
        tokenizer.require_fit(config, path)
    return tokenizer


def _refuse_ids(core: tokenizers.Tokenizer) -> None:
    seen: dict[int, str] = {}
    for token, i in core.get_vocab(with_added_tokens=True).items():
        if i >= MOST_TOKENS:
            raise TokenizerError(f"token {shown(token)} has the id {i}; accepted: below {MOST_TOKENS}")
        if i in seen:
            raise TokenizerError(f"tokens {shown(seen[i])} and {shown(token)} share the id {i}")
        seen[i] = token
