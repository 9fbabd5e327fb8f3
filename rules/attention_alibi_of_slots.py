"""Attention written out, with ALiBi cut from a table of the longest sequence -> npu_fused_infer_attention_score in BSND

Why:      as `attention_alibi`.
Numerics: as `attention_alibi`; the source's table is in fp32, and the shift that the kernel takes in the dtype of the
          queries: counted from the query, it rounds where the share of a key is small.
Contract: as `attention_alibi`. More tokens than the table is for are an error, as in the source: in eager, and of a
          runner before the first of them. Nobody counts the tokens of a compiled step that is called without one.
"""

import math

import torch
from torch import nn
from transformers.masking_utils import create_causal_mask
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, alibi_shift, kernel_mask, npu_causal_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cache_without_weights import after_cache, before_cache

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel", "qkv"),
            private=("query", "key", "value"),
        ),
        Edit("cache", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("shift", site="model.forward", unit="statements", answers=("kernel",), carried=("mask", "bias")),
        Edit("build", site="model.build_mpt_alibi_tensor", unit="function"),
    ),
    absent=OTHER_ATTENTION_OR_ENCODER,
    room="max_seq_len",
)


def before_kernel(self, q, k, v, batch, length, shift: Argument, mask: Argument, cache: Argument, error, **kwargs):
    query = q.reshape(batch, length, self.n_heads, self.head_dim).transpose(1, 2)
    key = k.reshape(batch, length, self.n_heads, self.head_dim).transpose(1, 2)
    value = v.reshape(batch, length, self.n_heads, self.head_dim).transpose(1, 2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    scores = torch.matmul(query, key.transpose(-1, -2)) * self.softmax_scale
    reach = length if cache is None else length + cache.get_seq_length()
    if shift is not None:
        if len(shift.shape) != 3:
            raise error
        slots = key.shape[-2]
        row = max(0, shift.size(1) - reach)
        column = max(0, shift.size(2) - slots)
        shift = shift[:, row:, column:]
        scores = scores + shift
    if mask is not None:
        scores = scores.masked_fill(mask, torch.finfo(query.dtype).min)
    weights = nn.functional.softmax(scores.float(), dim=-1).to(value.dtype)
    weights = nn.functional.dropout(weights, p=self.attn_dropout_p, training=self.training)
    output = torch.matmul(weights, value)
    output = output.permute(0, 2, 1, 3).contiguous().view(batch, length, -1)


def after_kernel(self, q, k, v, batch, length, shift, mask, cache, **kwargs):
    query = q.reshape(batch, length, self.n_heads, self.head_dim)
    key = k.reshape(batch, length, self.n_heads, self.head_dim)
    value = v.reshape(batch, length, self.n_heads, self.head_dim)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    output, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        pse_shift=shift,
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, **kwargs),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=self.softmax_scale,
        input_layout="BSND",
    )
    output = output.flatten(2)
    weights = None


def before_shift(self, states, embeddings, attention_mask, cache):
    alibi = self.build_mpt_alibi_tensor(self.num_heads, self.config.max_seq_len, device=states.device)
    masked = create_causal_mask(
        config=self.config, inputs_embeds=embeddings, attention_mask=attention_mask, past_key_values=cache
    ).to(torch.bool)


def after_shift(self, states, embeddings, attention_mask, cache):
    slopes = -self.build_mpt_alibi_tensor(self.num_heads, 2, device=states.device)[:, 0, 0]  # of one token back
    alibi = alibi_shift(slopes, embeddings, None, cache, longest=self.config.max_seq_len)
    masked = npu_causal_mask(
        config=self.config,
        inputs_embeds=embeddings,
        attention_mask=attention_mask,
        past_key_values=cache,
    )


def before_build(self, heads, length, bias_max, device):
    return build_mpt_alibi_tensor(heads, length, bias_max, device)


def after_build(self, heads, length, bias_max, device):
    return build_mpt_alibi_tensor(heads, length, bias_max, device)


def given_build_mpt_alibi_tensor(num_heads, sequence_length, alibi_bias_max=8, device=None):
    alibi = torch.arange(1 - sequence_length, 1, dtype=torch.int32, device=device).view(1, 1, 1, sequence_length)
    num_heads_power_of_2 = 2 ** math.ceil(math.log2(num_heads))
    base = torch.arange(1, num_heads_power_of_2 + 1, dtype=torch.int64, device=device).float()
    base = base * (alibi_bias_max / num_heads_power_of_2)
    slopes = 1.0 / torch.pow(2, base)
    slopes = slopes.view(1, num_heads_power_of_2, 1, 1)
    if num_heads_power_of_2 != num_heads:
        slopes = torch.concat([slopes[:, 1::2, ...], slopes[:, ::2, ...]], dim=1)[:, :num_heads, ...]
    alibi = alibi * slopes
    return alibi.squeeze(0)


def not_kernel_with_a_shift_behind_the_mask(self, q, k, v, batch, length, shift, mask, cache, error, **kwargs):
    """What the mask leaves out stays out: a shift on top of it could bring it back."""
    query = q.reshape(batch, length, self.n_heads, self.head_dim).transpose(1, 2)
    key = k.reshape(batch, length, self.n_heads, self.head_dim).transpose(1, 2)
    value = v.reshape(batch, length, self.n_heads, self.head_dim).transpose(1, 2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    scores = torch.matmul(query, key.transpose(-1, -2)) * self.softmax_scale
    reach = length if cache is None else length + cache.get_seq_length()
    if mask is not None:
        scores = scores.masked_fill(mask, torch.finfo(query.dtype).min)
    if shift is not None:
        if len(shift.shape) != 3:
            raise error
        slots = key.shape[-2]
        row = max(0, shift.size(1) - reach)
        column = max(0, shift.size(2) - slots)
        shift = shift[:, row:, column:]
        scores = scores + shift
    weights = nn.functional.softmax(scores.float(), dim=-1).to(value.dtype)
    weights = nn.functional.dropout(weights, p=self.attn_dropout_p, training=self.training)
    output = torch.matmul(weights, value)
    output = output.permute(0, 2, 1, 3).contiguous().view(batch, length, -1)


def not_shift_of_another_bias(self, states, embeddings, attention_mask, cache):
    """What is built with another largest bias falls by other slopes."""
    alibi = self.build_mpt_alibi_tensor(self.num_heads, self.config.max_seq_len, self.bias_max, device=states.device)
    masked = create_causal_mask(
        config=self.config, inputs_embeds=embeddings, attention_mask=attention_mask, past_key_values=cache
    ).to(torch.bool)


def _runs(draw, kernel, build, shift, cache_edit):
    made = []

    def making(model):
        model.num_heads, model.config.max_seq_len = 4, 16
        model.build_mpt_alibi_tensor = lambda heads, length, device: build(model, heads, length, 8, device)

        def make(inputs_embeds, attention_mask, past_key_values, **_):
            found = shift(model, inputs_embeds, inputs_embeds, attention_mask, past_key_values)
            made[:] = [found["alibi"]]
            return found["masked"]

        return make

    def step(self, q, k, v, cos, sin, mask, cache):
        self.n_heads, self.head_dim, self.softmax_scale, self.attn_dropout_p = 4, 16, 0.25, 0.1
        flat = (states.flatten(2) for states in (q, k, v))
        error = dict(error=ValueError()) if kernel is before_kernel else {}
        output = kernel(self, *flat, *q.shape[:2], made[0], mask, cache, **error)["output"]
        return output.unflatten(-1, (4, 16))

    def caching(self, use_cache, cache, attention_mask):
        return cache_edit(self, use_cache, cache, attention_mask, False)

    return prefill_and_decode(draw, step, caching, making, key_heads=4, implementation="eager")


def proof_before(draw):
    return _runs(draw, before_kernel, before_build, before_shift, before_cache)


def proof_after(draw):
    return _runs(draw, after_kernel, after_build, after_shift, after_cache)
