"""Byte-level BPE tokenizer, trained on the training part of the corpus, and the token stream made with it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from .corpus import Book
from .dialogue import Conversation, conversations

BEGIN, END_OF_TEXT, USER, ASSISTANT, END_OF_TURN = "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = (BEGIN, END_OF_TEXT, USER, ASSISTANT, END_OF_TURN)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE of at most `vocabulary` entries; the special tokens take the lowest ids."""
    smallest = len(SPECIALS) + 256
    if vocabulary < smallest:
        raise ValueError(f"vocabulary {vocabulary}: a byte-level BPE needs at least {smallest}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def with_begin(tokenizer: Tokenizer) -> Tokenizer:
    """Let the tokenizer put the begin token before a text, as the model saw every text begin."""
    begin = (BEGIN, tokenizer.token_to_id(BEGIN))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[begin])
    return tokenizer


def encode_books(tokenizer: Tokenizer, books: Iterable[Book]) -> np.ndarray:
    """Return one uint16 stream: each book between a begin and an end-of-text token."""
    begin, end = tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END_OF_TEXT)
    # One array a book: a list of all tokens would take twenty times as much memory.
    streams = [
        np.array([begin, *tokenizer.encode(book.text, add_special_tokens=False).ids, end], np.uint16) for book in books
    ]
    return np.concatenate(streams) if streams else np.empty(0, np.uint16)


def encode_conversations(tokenizer: Tokenizer, books: Iterable[Book]) -> np.ndarray:
    """Return one uint16 stream of the conversations in the books, in the form of the chat template."""
    texts = [render(run) for book in books for run in conversations(book.text)]
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return np.asarray([token for item in encoded for token in item.ids], dtype=np.uint16)


def render(run: Conversation) -> str:
    """Write a conversation as the chat template does, the user first."""
    roles = (USER, ASSISTANT)
    turns = "".join(f"{roles[i % 2]}{said}{END_OF_TURN}" for i, said in enumerate(run))
    return f"{BEGIN}{turns}{END_OF_TEXT}"
