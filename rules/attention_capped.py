"""Attention with a soft cap -> as it is: no op computes one

Why:      scores are squeezed by `tanh` before the softmax. Neither `npu_fused_infer_attention_score` nor its second
          version has an argument for that, nor has any other op of torch_npu, and scores cannot be had from outside.
Numerics: the source's own.
Contract: none. The attention, its cache and its masks stay the source's.
"""

from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("kernel", site="attention.forward", unit="statements", answers=("kernel",)),
        Edit("cache", site="model.forward", unit="statements"),
    ),
)


def before_kernel(self, default, cap):
    """no op computes a soft cap"""
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, default)
    ...
    output, weights = interface(self, ..., softcap=cap)


def before_cache(self, use_cache, cache):
    """the cache is that of its attention, which stays as it is: no op computes a soft cap"""
    if use_cache and cache is None:
        cache = DynamicCache(config=self.config)


def not_kernel_without_a_cap(self, query, key, value, mask, default, **kwargs):
    """The kernel computes it."""
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, default)
    output, weights = interface(self, query, key, value, mask, scaling=self.scaling, **kwargs)
