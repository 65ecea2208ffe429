"""A decoder over a paged key-value cache, in NumPy."""

from .kv_pages import KVPages
from .llama_graph import LlamaGraph
from .packed_decoder import packed_weights
from .page_table import PageTable
from .predictors import LayerPredictor, load_predictors
from .prefix_cache import PrefixCache
from .q8_decoder import build_decoder, decoder_weights, why_not_q8
from .weights import ExpertWeights, LayerWeights, LlamaWeights, MixtureWeights, load_weights

__all__ = [
    "ExpertWeights",
    "KVPages",
    "LayerPredictor",
    "LayerWeights",
    "LlamaGraph",
    "LlamaWeights",
    "MixtureWeights",
    "PageTable",
    "PrefixCache",
    "build_decoder",
    "decoder_weights",
    "load_predictors",
    "load_weights",
    "packed_weights",
    "why_not_q8",
]
