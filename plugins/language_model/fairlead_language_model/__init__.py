"""Checkpoints, tokenizers, model graphs, sampling and OpenAI types shared by the language-model plugins."""
