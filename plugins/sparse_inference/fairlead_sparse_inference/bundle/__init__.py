"""The bundle layout: a model directory whose feed-forward neurons lie ready to be read one by one.

Beside the files of the Hugging Face layout (config.json, tokenizer) there are

- ``bundle.json``, the manifest: sizes, and where each network lies (`Manifest`);
- ``neurons.bin``: network by network (of a mixture expert by expert, then the shared one), each a sequence of clusters
  of whole 4 KiB blocks. A cluster holds `cluster_neurons` bundles one after the other, each the packed gate row, up row
  and down-projection row of one neuron (PowerInfer-2, section 4.4), or the two rows that it has where there is no gate
  (OPT). Neurons lie in the order of `NAME.order`, the most often active ones first;
- ``resident.safetensors``: everything else. Packed matrices are uint8 [rows, row bytes] with their columns and bits in
  the manifest; `NAME.order` is int32 [neurons], the neuron at each place of the file.
"""

from .layout import BLOCK, BundleLayout
from .manifest import Manifest, Network, PackedTensor
from .networks import NetworkName, all_networks, layer_networks
from .reader import Bundle, is_bundle, open_bundle
from .verify import verify_bundle
from .writer import NetworkRows, checkpoint_files, write_bundle

__all__ = [
    "BLOCK",
    "Bundle",
    "BundleLayout",
    "Manifest",
    "Network",
    "NetworkName",
    "NetworkRows",
    "PackedTensor",
    "all_networks",
    "checkpoint_files",
    "is_bundle",
    "layer_networks",
    "open_bundle",
    "verify_bundle",
    "write_bundle",
]
