"""Near misses of the rules for a cap of scores and of those for sinks: attention with neither, and with both."""

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward


def not_kernel_of_scores_alone(self, q, k, v, cos, sin, mask, cache, scaling, **kwargs):
    """Neither a cap nor sinks are handed on: see `attention`."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_kernel_with_a_cap_and_sinks(self, q, k, v, cos, sin, mask, cache, scaling, cap, **kwargs):
    """A rule for one of them would leave the other out."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(
        self, query, key, value, mask, dropout=0.0, scaling=scaling, softcap=cap, s_aux=self.sinks, **kwargs
    )
