"""Text to tokens and back, streaming detokenization, and chat templates."""

from ..chat_message import ChatMessage
from .chat_template import ChatTemplate
from .gguf_vocabulary import tokenizer_from_gguf
from .stream_decoder import StreamDecoder
from .tokenizer import Tokenizer, open_tokenizer

__all__ = ["ChatMessage", "ChatTemplate", "StreamDecoder", "Tokenizer", "open_tokenizer", "tokenizer_from_gguf"]
