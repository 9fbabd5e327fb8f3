"""Attention with a sink for each head -> npu_fused_infer_attention_score, scaled by what the sink leaves

Why:      as `attention`: one kernel, no transposes, no repeated heads, a cache that never moves. A sink is one more
          score, of a key without a value: what it takes is a share of every row, which the kernel's log-sum-exp tells.
          Version 2 of the op has sinks of its own, in bfloat16 and for sequences end to end (TND) only.
Numerics: softmax in fp32; `softmax([scores, sink]) @ v` is `softmax(scores) @ v * sigmoid(lse - sink)`, where lse is
          that of the scores. The factor is computed in fp32 and rounded to the dtype of the output, and so is the
          product; a source that takes the softmax in 16 bits rounds each share.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it, with softmax_lse_flag: lse is float32,
          (batch, heads, length, 1). Masks are True where nothing is computed, and each row sees itself at least, as the
          kernel's lse of a row that sees nothing is not defined. Under sdpa a source drops its sinks: that is refused.
"""

import torch
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule, maybe
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cap_or_sinks import not_kernel_of_scores_alone, not_kernel_with_a_cap_and_sinks
from rules.shared.eager_attention import given_repeat_kv
from rules.shared.half_tables import given__apply_rotary_emb, given_apply_rotary_pos_emb__chunks
from rules.shared.rotary import (
    given_apply_rotary_pos_emb,
    given_apply_rotary_pos_emb__partial,
    given_rotate_half,
)
from rules.shared.sinks import after_init, before_init, not_init_in_another_order
from rules.shared.static_cache import (
    after_cache,
    after_mask,
    after_mask__window,
    before_cache,
    before_cache__unless_traced,
    before_mask,
    before_mask__window,
)

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel",),
            private=("query", "key", "value"),
        ),
        Edit("init", site="attention.__init__", unit="statements"),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
    splits={"sinks": ("pieces", 0)},
)


def before_kernel(self, q, k, v, cos, sin, mask: Argument, cache: Argument, scaling, turns=True, dropout=0.0, **kwargs):
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    ...
    if maybe(turns):
        ...
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(
        self,
        query,
        key,
        value,
        mask,
        dropout=dropout,
        scaling=scaling,
        sliding_window=maybe,
        s_aux=self.sinks,
        **kwargs,
    )


def after_kernel(self, q, k, v, cos, sin, mask, cache, scaling, turns=True, **kwargs):
    query = q
    key = k
    value = v
    ...
    if maybe(turns):
        ...
        query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    ...
    output, lse = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, **kwargs),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=scaling,
        input_layout="BSND",
        softmax_lse_flag=True,
    )
    output = (output * torch.sigmoid(lse.transpose(1, 2) - self.sinks.float()[:, None])).to(query.dtype)
    weights = None


def given_eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    key_states = repeat_kv(key, module.num_key_value_groups)
    value_states = repeat_kv(value, module.num_key_value_groups)
    attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    sinks = module.sinks.reshape(1, -1, 1, 1).expand(query.shape[0], -1, query.shape[-2], -1)
    combined_logits = torch.cat([attn_weights, sinks], dim=-1)
    combined_logits = combined_logits - combined_logits.max(dim=-1, keepdim=True).values
    probs = F.softmax(combined_logits, dim=-1, dtype=combined_logits.dtype)
    scores = probs[..., :-1]
    attn_weights = torch.nn.functional.dropout(scores, p=dropout, training=module.training).to(value_states.dtype)
    attn_output = torch.matmul(attn_weights, value_states)
    attn_output = attn_output.transpose(1, 2).contiguous()
    return attn_output, attn_weights


def given_eager_attention_forward__scaled_by_lse(
    module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs
):
    key_states = repeat_kv(key, module.num_key_value_groups)
    value_states = repeat_kv(value, module.num_key_value_groups)
    attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    lse = torch.logsumexp(attn_weights, dim=-1)
    sink_scale = (lse - module.sinks.view(1, -1, 1)).to(torch.float32).sigmoid()
    attn_weights = F.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = F.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value_states)
    attn_output = attn_output * sink_scale.unsqueeze(-1).to(attn_output.dtype)
    attn_output = attn_output.transpose(1, 2).contiguous()
    return attn_output, attn_weights


def given_eager_attention_forward__in_float32(
    module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs
):
    key_states = repeat_kv(key, module.num_key_value_groups)
    value_states = repeat_kv(value, module.num_key_value_groups)
    with maybe_autocast(device_type=query.device.type, enabled=False):
        attn_weights = torch.matmul(query.float(), key_states.float().transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    sinks = module.sinks.reshape(1, -1, 1, 1).expand(*attn_weights.shape[:-1], 1)
    attn_weights = F.softmax(torch.cat([attn_weights, sinks], dim=-1), dim=-1)[..., :-1].to(value_states.dtype)
    attn_weights = torch.nn.functional.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value_states)
    attn_output = attn_output.transpose(1, 2).contiguous()
    return attn_output, attn_weights


def not_kernel_with_sinks_of_the_step(self, q, k, v, cos, sin, mask, cache, scaling, sinks, **kwargs):
    """Sinks that hang on the query are not one number a head."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, s_aux=sinks, **kwargs)


def not_kernel_with_a_bias(self, q, k, v, cos, sin, mask, cache, scaling, bias, **kwargs):
    """What else is added to the scores is no sink."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(
        self, query, key, value, mask, scaling=scaling, s_aux=self.sinks, position_bias=bias, **kwargs
    )


def _runs(draw, kernel, init, cache_edit, mask_edit, window_edit):
    """The sinks take from hardly anything to nearly all. One tensor of all steps, as the largest error of few values is
    chance."""
    def step(self, q, k, v, cos, sin, mask, cache):
        return kernel(self, q, k, v, cos, sin, mask, cache, 1.0)["output"]

    made, outputs = draw.module(), []
    init(made, draw.module(_attn_implementation="eager"), draw.uniform(4, low=-2.0, high=4.0))
    asked = dict(sinks=made.sinks, implementation="eager")
    for window, edit in ((None, mask_edit), (4, window_edit)):
        outputs += prefill_and_decode(draw, step, cache_edit, edit, window=window, **asked)
    return torch.cat(outputs, dim=1)


def proof_before(draw):
    return _runs(draw, before_kernel, before_init, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_init, after_cache, after_mask, after_mask__window)
