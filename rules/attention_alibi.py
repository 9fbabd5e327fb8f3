"""Attention written out, with ALiBi -> npu_fused_infer_attention_score in BSND, with the shift of its scores

Why:      as `attention`: one kernel for scores, shift, mask, softmax and values; no transposes; a cache that never
          moves.
Numerics: scores, their shift and softmax in fp32. What is added is counted from the query, where the source counts
          from one end: another number for all keys of a query, which no softmax sees, and in 16 bits nearer to what
          is meant.
Contract: torch_npu.npu_fused_infer_attention_score with pse_shift, (1 or B, N, Q_S, KV_S) in the queries' dtype: a row
          for every query, once a step for all layers; head_dim a multiple of 16 for one token. Masks are True where
          nothing is computed, and change with the kernel. Attention weights never exist.
"""

import math

import torch
from torch.nn import functional as F
from transformers.models.bloom.modeling_bloom import _get_alibi_slopes, build_alibi_tensor

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, alibi_shift, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cache_without_weights import after_cache, before_cache
from rules.shared.static_cache import after_mask, before_mask

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel", "qkv"),
            private=("query", "key", "value"),
        ),
        Edit("init", site="attention.__init__", unit="statements"),
        Edit("split", site="attention._reshape", unit="function"),
        Edit("merge", site="attention._merge_heads", unit="function"),
        Edit("cache", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("shift", site="model.forward", unit="statements", answers=("kernel",), carried=("alibi",)),
        Edit("build", site="model.build_alibi_tensor", unit="function"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, x, alibi: Argument, mask: Argument, cache: Argument, output_attentions):
    batch, length, _ = x.shape
    fused = self.query_key_value(x)
    query, key, value = self._reshape(fused)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    query = query.reshape(batch * self.num_heads, -1, self.head_dim)
    key = key.reshape(batch * self.num_heads, -1, self.head_dim).transpose(-1, -2)
    value = value.reshape(batch * self.num_heads, -1, self.head_dim)
    product = alibi.baddbmm(batch1=query, batch2=key, beta=self.beta, alpha=self.inv_norm_factor)
    scores = product.view(batch, self.num_heads, length, -1)
    if mask is not None:
        scores = scores + mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = self.attention_dropout(weights)
    shares = weights.view(batch * self.num_heads, length, -1)
    output = torch.bmm(shares, value)
    output = self._merge_heads(output)


def after_kernel(self, x, alibi, mask, cache, output_attentions):
    query, key, value = self._reshape(self.query_key_value(x))
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    output, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        pse_shift=alibi,
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, output_attentions=output_attentions),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=self.inv_norm_factor,
        input_layout="BSND",
    )
    output = output.flatten(2)
    weights = None


def before_init(self):
    self.beta = 1.0


def after_init(self):
    self.beta = 1.0


def before_split(self, fused):
    batch, length, width = fused.shape
    fused = fused.view(batch, length, self.num_heads, 3, self.head_dim)
    query = fused[..., 0, :].transpose(1, 2)
    key = fused[..., 1, :].transpose(1, 2)
    value = fused[..., 2, :].transpose(1, 2)
    return query, key, value


def after_split(self, fused):
    batch, length, _ = fused.shape
    return fused.view(batch, length, self.num_heads, 3, self.head_dim).unbind(3)


def before_merge(self, x):
    rows, length, _ = x.shape
    batch = rows // self.num_heads
    x = x.view(batch, self.num_heads, length, self.head_dim)
    x = x.permute(0, 2, 1, 3)
    return x.reshape(batch, length, self.num_heads * self.head_dim)


def after_merge(self, x):
    rows, length, _ = x.shape
    batch = rows // self.num_heads
    x = x.view(batch, self.num_heads, length, self.head_dim)
    x = x.permute(0, 2, 1, 3)
    return x.reshape(batch, length, self.num_heads * self.head_dim)


def before_shift(self, embeddings, states, attention_mask, cache):
    batch, length, _ = embeddings.shape
    past = cache.get_seq_length() if cache is not None else 0
    total = length + past
    ...
    if attention_mask is None:
        slots = cache.get_mask_sizes(length, 0)[0] if cache is not None else total
        slopes = _get_alibi_slopes(self.num_heads, states.device)
        alibi = slopes[:, None, None] * torch.arange(slots, device=states.device)
        alibi = alibi.repeat(batch, 1, 1).to(states.dtype)
    else:
        attention_mask = attention_mask.to(states.device)
        alibi = self.build_alibi_tensor(attention_mask, self.num_heads, dtype=states.dtype)


def after_shift(self, embeddings, states, attention_mask, cache):
    ...
    if attention_mask is not None:
        attention_mask = attention_mask.to(states.device)
    slopes = _get_alibi_slopes(self.num_heads, states.device)
    alibi = alibi_shift(slopes, states, attention_mask, cache)


def before_build(self, attention_mask, heads, dtype):
    return build_alibi_tensor(attention_mask, heads, dtype)


def after_build(self, attention_mask, heads, dtype):
    return build_alibi_tensor(attention_mask, heads, dtype)


def given__get_alibi_slopes(num_heads, device):
    closest_power_of_2 = 2 ** math.floor(math.log2(num_heads))
    base = torch.full((), 2 ** (-(2 ** -(math.log2(closest_power_of_2) - 3))), device=device, dtype=torch.float32)
    powers = torch.arange(1, 1 + closest_power_of_2, device=device, dtype=torch.int32)
    slopes = torch.pow(base, powers)
    if closest_power_of_2 != num_heads:
        extra_base = torch.full(
            (), 2 ** (-(2 ** -(math.log2(2 * closest_power_of_2) - 3))), device=device, dtype=torch.float32
        )
        num_remaining_heads = min(closest_power_of_2, num_heads - closest_power_of_2)
        extra_powers = torch.arange(1, 1 + 2 * num_remaining_heads, 2, device=device, dtype=torch.int32)
        slopes = torch.cat([slopes, torch.pow(extra_base, extra_powers)], dim=0)
    return slopes


def given_build_alibi_tensor(attention_mask, num_heads, dtype):
    batch_size, seq_length = attention_mask.shape
    slopes = _get_alibi_slopes(num_heads, attention_mask.device)
    arange_tensor = ((attention_mask.cumsum(dim=-1) - 1) * attention_mask)[:, None, :]
    alibi = slopes[..., None] * arange_tensor
    return alibi.reshape(batch_size * num_heads, 1, seq_length).to(dtype)


def not_kernel_with_a_shift_that_is_scaled(self, x, alibi, mask, cache, output_attentions):
    """The kernel scales the product alone, not what is added to it."""
    batch, length, _ = x.shape
    fused = self.query_key_value(x)
    query, key, value = self._reshape(fused)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    query = query.reshape(batch * self.num_heads, -1, self.head_dim)
    key = key.reshape(batch * self.num_heads, -1, self.head_dim).transpose(-1, -2)
    value = value.reshape(batch * self.num_heads, -1, self.head_dim)
    product = (torch.bmm(query, key) + alibi) * self.inv_norm_factor
    scores = product.view(batch, self.num_heads, length, -1)
    if mask is not None:
        scores = scores + mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = self.attention_dropout(weights)
    shares = weights.view(batch * self.num_heads, length, -1)
    output = torch.bmm(shares, value)
    output = self._merge_heads(output)


def not_split_by_parts(self, fused):
    """Queries of all heads, then keys, then values: other rows of the projection."""
    batch, length, width = fused.shape
    fused = fused.view(batch, length, 3, self.num_heads, self.head_dim)
    query = fused[..., 0, :, :].transpose(1, 2)
    key = fused[..., 1, :, :].transpose(1, 2)
    value = fused[..., 2, :, :].transpose(1, 2)
    return query, key, value


def not_init_with_less_of_the_shift(self):
    """The kernel adds the whole shift."""
    self.beta = 0.5


def not_shift_by_squares(self, embeddings, states, attention_mask, cache):
    """Squares of positions are not told by how far a key is."""
    batch, length, _ = embeddings.shape
    past = cache.get_seq_length() if cache is not None else 0
    total = length + past
    if attention_mask is None:
        slots = cache.get_mask_sizes(length, 0)[0] if cache is not None else total
        slopes = _get_alibi_slopes(self.num_heads, states.device)
        alibi = slopes[:, None, None] * torch.arange(slots, device=states.device) ** 2
        alibi = alibi.repeat(batch, 1, 1).to(states.dtype)
    else:
        attention_mask = attention_mask.to(states.device)
        alibi = self.build_alibi_tensor(attention_mask, self.num_heads, dtype=states.dtype)


def _runs(draw, kernel, init, split, merge, build, shift, cache_edit, mask_edit):
    made, padded = [], draw.choice((True, False))

    def making(model):
        mask = mask_edit(model)
        model.num_heads = 4
        model.build_alibi_tensor = lambda *given, **named: build(model, *given, **named)

        def make(inputs_embeds, attention_mask, past_key_values, **named):
            if not padded:
                attention_mask = None
            made[:] = [shift(model, inputs_embeds, inputs_embeds, attention_mask, past_key_values)["alibi"]]
            return mask(
                inputs_embeds=inputs_embeds, attention_mask=attention_mask, past_key_values=past_key_values, **named
            )

        return make

    def step(self, q, k, v, cos, sin, mask, cache):
        self.query_key_value = torch.nn.Identity()
        init(self)
        self.num_heads, self.head_dim, self.inv_norm_factor = 4, 16, 0.25
        self.attention_dropout = torch.nn.Dropout(0.1).eval()
        self._reshape, self._merge_heads = (lambda x: split(self, x)), (lambda x: merge(self, x))
        fused = torch.stack((q, k, v), dim=3).flatten(2)
        return kernel(self, fused, made[0], mask, cache, False)["output"].unflatten(-1, (4, 16))

    def caching(self, use_cache, cache, attention_mask):
        return cache_edit(self, use_cache, cache, attention_mask, False)

    return prefill_and_decode(draw, step, caching, making, key_heads=4, implementation="eager")


def proof_before(draw):
    edits = before_init, before_split, before_merge, before_build, before_shift, before_cache, before_mask
    return _runs(draw, before_kernel, *edits)


def proof_after(draw):
    edits = after_init, after_split, after_merge, after_build, after_shift, after_cache, after_mask
    return _runs(draw, after_kernel, *edits)
