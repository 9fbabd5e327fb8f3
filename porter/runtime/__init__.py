"""What generated model files and the runner share: static KV cache, masks, padding, rotary tables, merged weights,
products by blocks, registry.

Contract: imports torch and transformers, and `torch_npu` where there is one; nothing is registered or patched.

Takes:    what `transformers` hands to a model: configurations, masks, caches, checkpoints.
Gives:    the parts that ported models are made of.
Imported: by generated code, `runner`, `verify`, `bench`. It needs `npu`.
"""

from porter.emit.model_file import CannotLoad
from porter.runtime.cache import StaticKVCache, actual_seq_lengths, prepare_kv_cache
from porter.runtime.cursor import CacheFull
from porter.runtime.masks import npu_causal_mask, npu_sliding_window_causal_mask
from porter.runtime.model import NpuPreTrainedModel, PortedPreTrainedModel
from porter.runtime.padding import left_pad, position_ids_from_mask
from porter.runtime.products import block_products
from porter.runtime.registry import UnknownModel, injection_policy, load_model_class, registered
from porter.runtime.rotary import tabulate_rotary
from porter.runtime.weights import RowMerge

__all__ = [
    "CacheFull",
    "CannotLoad",
    "NpuPreTrainedModel",
    "PortedPreTrainedModel",
    "RowMerge",
    "StaticKVCache",
    "UnknownModel",
    "actual_seq_lengths",
    "block_products",
    "injection_policy",
    "left_pad",
    "load_model_class",
    "npu_causal_mask",
    "npu_sliding_window_causal_mask",
    "position_ids_from_mask",
    "prepare_kv_cache",
    "registered",
    "tabulate_rotary",
]
