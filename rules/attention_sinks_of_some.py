"""Attention with sinks in some layers, and values of another width -> npu_fused_infer_attention_score in BSND

Why:      as `attention_sinks`. The kernel has one width for keys and values: the narrower are filled up behind the
          cache, which holds what the source's holds; that is one kernel more, over every slot.
Numerics: as `attention_sinks`. Zeros beside a value come out as zeros.
Contract: as `attention_sinks`. The kernel takes different widths only of sequences end to end (TND).
"""

import torch
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.mimo_v2_flash.modeling_mimo_v2_flash import apply_rotary_pos_emb, eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, at_one_width, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import given_repeat_kv
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


def before_kernel(
    self, q, k, v, factor, cos, sin, mask: Argument, cache: Argument, scaling, window=None, dropout=0.0, **kwargs
):
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2) * factor
    ...
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(
        self,
        query,
        key,
        value,
        mask,
        dropout=dropout,
        scaling=scaling,
        sliding_window=window,
        s_aux=self.sinks,
        **kwargs,
    )


def after_kernel(self, q, k, v, factor, cos, sin, mask, cache, scaling, **kwargs):
    query = q
    key = k
    value = v * factor
    ...
    query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    width = value.shape[-1]
    query, key, value = at_one_width(query, key, value)
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
        softmax_lse_flag=self.sinks is not None,
    )
    output = output[..., :width]
    if self.sinks is not None:
        output = (output * torch.sigmoid(lse.transpose(1, 2) - self.sinks.float()[:, None])).to(query.dtype)
    weights = None


def given_eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    key_states = repeat_kv(key, module.num_key_value_groups)
    value_states = repeat_kv(value, module.num_key_value_groups)
    attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    if module.sinks is not None:
        sinks = module.sinks.reshape(1, -1, 1, 1).expand(query.shape[0], -1, query.shape[-2], -1)
        attn_weights = torch.cat([attn_weights, sinks], dim=-1)
    attn_weights = attn_weights - attn_weights.max(dim=-1, keepdim=True).values
    probs = F.softmax(attn_weights, dim=-1, dtype=attn_weights.dtype)
    if module.sinks is not None:
        probs = probs[..., :-1]
    attn_weights = F.dropout(probs, p=dropout, training=module.training).to(value_states.dtype)
    attn_output = torch.matmul(attn_weights, value_states)
    attn_output = attn_output.transpose(1, 2).contiguous()
    return attn_output, attn_weights


def not_kernel_with_sinks_of_the_step(self, q, k, v, factor, cos, sin, mask, cache, scaling, sinks, window, **kwargs):
    """Sinks that hang on the query are not one number a head."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2) * factor
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(
        self, query, key, value, mask, dropout=0.0, scaling=scaling, sliding_window=window, s_aux=sinks, **kwargs
    )


def _runs(draw, kernel, init, cache_edit, mask_edit, window_edit):
    """A layer with sinks and one without; values of half the width. One tensor of all steps, as the largest error of
    few values is chance."""
    def step(self, q, k, v, cos, sin, mask, cache):
        output = kernel(self, q, k, v[..., :8].contiguous(), 0.5, cos, sin, mask, cache, 1.0)["output"]
        return F.pad(output, (0, 8))

    outputs = []
    for window, edit, sinks in (
        (None, mask_edit, None), (4, window_edit, draw.uniform(4, low=-2.0, high=4.0))
    ):
        made = draw.module()
        init(made, draw.module(_attn_implementation="eager"), sinks)
        asked = dict(sinks=made.sinks, implementation="eager")
        outputs += prefill_and_decode(draw, step, cache_edit, edit, window=window, **asked)
    return torch.cat(outputs, dim=1)


def proof_before(draw):
    return _runs(draw, before_kernel, before_init, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_init, after_cache, after_mask, after_mask__window)
