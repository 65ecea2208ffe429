"""A Llama-family decoder over a paged key-value cache, in NumPy."""

from .kv_pages import KVPages
from .llama_graph import LlamaGraph
from .page_table import PageTable
from .weights import LayerWeights, LlamaWeights, load_weights

__all__ = ["KVPages", "LayerWeights", "LlamaGraph", "LlamaWeights", "PageTable", "load_weights"]
