"""Checkpoints, tokenizers, model graphs, sampling and OpenAI types shared by the language-model plugins.

Import from the modules: `checkpoint` (open_checkpoint), `config`, `tokenizer`, `graph`, `sampling`, `openai`,
`stop_matcher`, `quantize`, `errors`. Nothing is imported here, so that a light module can take the types alone.
"""
