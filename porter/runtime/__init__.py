"""What generated model files and the runner share: static KV cache, masks, padding, rotary tables, merged weights,
adapters, products by blocks, registry.

Contract: imports torch and transformers, and `torch_npu` where there is one; nothing is registered or patched. Under a
release of transformers that porter does not know it cannot be imported (`porter.release.OtherRelease`), and
without it no port can.

Takes:    what `transformers` hands to a model: configurations, masks, caches, checkpoints.
Gives:    the parts that ported models are made of.
Imported: by generated code, `verify`, `lowering`, `graph`, `parallel`, `runner`, `bench`. It needs `npu` and `emit`.
"""
# ruff: noqa: E402  (which release is installed is asked before anything of it is imported)

from porter.release import require_known_release

require_known_release()

from porter.emit.model_file import CannotLoad
from porter.runtime.activations import Gelu, activation_of
from porter.runtime.alibi import alibi_shift
from porter.runtime.arguments import actual_seq_lengths, prepare_kv_cache
from porter.runtime.cache import StaticKVCache
from porter.runtime.cursor import CacheFull
from porter.runtime.docstrings import auto_docstring
from porter.runtime.latent import absorbed_attention, absorbs, at_one_width
from porter.runtime.made_from import PortedFrom
from porter.runtime.masks import kernel_mask, npu_causal_mask, npu_encoder_mask, npu_sliding_window_causal_mask
from porter.runtime.model import NpuPreTrainedModel, PortedPreTrainedModel
from porter.runtime.neighbours import neighbour_rotation, neighbour_table, turn_neighbours_apart
from porter.runtime.norms import NormAhead, add_norm, add_states, norm_states
from porter.runtime.padding import left_pad, position_ids_from_mask
from porter.runtime.parts import put_together
from porter.runtime.products import block_products
from porter.runtime.registry import UnknownModel, folder_of, injection_policy, load_model_class, registered
from porter.runtime.rotary import tabulate_rotary
from porter.runtime.splits import WeightSplit
from porter.runtime.weights import RowMerge

__all__ = [
    "CacheFull",
    "CannotLoad",
    "Gelu",
    "NormAhead",
    "NpuPreTrainedModel",
    "PortedFrom",
    "PortedPreTrainedModel",
    "RowMerge",
    "StaticKVCache",
    "UnknownModel",
    "WeightSplit",
    "absorbed_attention",
    "absorbs",
    "activation_of",
    "actual_seq_lengths",
    "add_norm",
    "add_states",
    "alibi_shift",
    "at_one_width",
    "auto_docstring",
    "block_products",
    "folder_of",
    "injection_policy",
    "kernel_mask",
    "left_pad",
    "load_model_class",
    "neighbour_rotation",
    "neighbour_table",
    "norm_states",
    "npu_causal_mask",
    "npu_encoder_mask",
    "npu_sliding_window_causal_mask",
    "position_ids_from_mask",
    "prepare_kv_cache",
    "put_together",
    "registered",
    "tabulate_rotary",
    "turn_neighbours_apart",
]
