"""Attention with a soft cap -> as it is: no op computes one

Why:      scores are squeezed by `tanh` before the softmax. Neither `npu_fused_infer_attention_score` nor its second
          version has an argument for that, nor has any other op of torch_npu, and scores cannot be had from outside.
Numerics: the source's own.
Contract: none. The products stay the source's; their cache and masks are those of `attention_capped_over_slots`.
"""

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from porter.rule import Edit, Rule

rule = Rule(
    edits=(Edit("kernel", site="attention.forward", unit="statements", answers=("kernel",)),),
)


def before_kernel(self, default, cap):
    """no op computes a soft cap"""
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, default)
    ...
    output, weights = interface(self, ..., softcap=cap)


def not_kernel_without_a_cap(self, query, key, value, mask, default, **kwargs):
    """The kernel computes it."""
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, default)
    output, weights = interface(self, query, key, value, mask, scaling=self.scaling, **kwargs)
