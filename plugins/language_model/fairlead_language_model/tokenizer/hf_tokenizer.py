"""Opens tokenizer.json and the files beside it that name special tokens and the chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers

from ..errors import ChatTemplateError, TokenizerError, shown
from ..hf_config import read_json_object
from ..narrowing import as_list, as_object
from .chat_template import ChatTemplate
from .tokenizer import Tokenizer
from .tokenizers_errors import library_errors

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def tokenizer_from_directory(directory: Path) -> Tokenizer:
    """Open a directory in Hugging Face's layout; raises TokenizerError, CheckpointError or ChatTemplateError."""
    file = directory / "tokenizer.json"
    core = _read_core(file)
    settings = _optional(directory / "tokenizer_config.json")
    special = {name: text for name in _NAMED if (text := _content(settings.get(name))) is not None}
    bos = _id(core, special.get("bos_token"), directory)
    ends = {_id(core, special.get("eos_token"), directory), *_generation_ends(directory)}
    try:
        return Tokenizer(
            core,
            bos_token_id=bos,
            eos_token_ids=[end for end in ends if end is not None],
            chat_template=_chat_template(directory, settings, core, special),
            source=file,
        )
    except TokenizerError as error:
        raise TokenizerError(f"{file}: {error}") from error
    except ChatTemplateError as error:
        raise ChatTemplateError(f"{directory}: {error}") from error


def _read_core(path: Path) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise TokenizerError(f"{path}: no such file; accepted: tokenizer.json as the tokenizers library writes it")
    with library_errors(path, "is not a tokenizer"):
        core = tokenizers.Tokenizer.from_file(str(path))
        core.no_padding()
        # What the file asks for may fail only once it is used.
        core.decode(core.encode("a b\n").ids)
    return core


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}


def _content(token: Any) -> str | None:
    described = as_object(token)
    text = token if described is None else described.get("content")
    return text if isinstance(text, str) else None


def _id(core: tokenizers.Tokenizer, token: str | None, directory: Path) -> int | None:
    if token is None:
        return None
    found = core.token_to_id(token)
    if found is None:
        raise TokenizerError(f"{directory / 'tokenizer_config.json'}: token {shown(token)} is not in tokenizer.json")
    return found


def _generation_ends(directory: Path) -> list[int]:
    """Return the end tokens that the model's own files name: a chat model often has several."""
    found: list[int] = []
    for name in ("config.json", "generation_config.json"):
        value = _optional(directory / name).get("eos_token_id")
        found += [i for i in as_list(value) or [value] if isinstance(i, int)]
    return found


def _chat_template(
    directory: Path, settings: dict[str, Any], core: tokenizers.Tokenizer, special: dict[str, str]
) -> ChatTemplate | None:
    file = directory / "chat_template.jinja"
    source = _read_text(file) if file.is_file() else settings.get("chat_template")
    entries = [entry for item in as_list(source) or [] if (entry := as_object(item))]
    if entries:
        source = next((entry.get("template") for entry in entries if entry.get("name") == "default"), None)
    if isinstance(source, str):
        return ChatTemplate(source, special)
    return ChatTemplate.built_in(frozenset(core.get_vocab()), special)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ChatTemplateError(f"{file.name} cannot be read: {error}") from error
