"""Attention that turns its heads or biases its scores, where it turns -> npu_fused_infer_attention_score in BSND

Why:      as `attention`: one kernel, no transposes, a cache that never moves; and heads of keys and values stay as few
          as they are, where the source repeats them for the heads of queries before it caches them.
Numerics: softmax in fp32, where the source has it in the dtype of the states.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it. A configuration that biases scores by
          positions (ALiBi), and a layer that is given such a bias, are an error. Attention weights never exist.
"""

import math

import torch
from torch.nn import functional as F
from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cache_without_weights import after_cache, before_cache
from rules.shared.rotary import given_apply_rotary_pos_emb, given_rotate_half
from rules.shared.static_cache import after_mask, after_mask__window, before_mask, before_mask__window

rule = Rule(
    edits=(
        Edit("kernel", site="attention.forward", unit="function", answers=("kernel", "qkv")),
        Edit("split", site="attention._split_heads", unit="function"),
        Edit("bias", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("init", site="model.__init__", unit="statements"),
        Edit("cache", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards={"self.use_alibi": (False,)},
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, x, bias: Argument, mask: Argument, cache: Argument, output_attentions, position_embeddings):
    fused = self.query_key_value(x)
    key_heads = self.num_heads if self.new_decoder_architecture else self.num_kv_heads
    (query, key, value) = self._split_heads(fused)
    batch, length, _, _ = query.shape
    query = query.transpose(1, 2).reshape(batch, self.num_heads, length, self.head_dim)
    key = key.transpose(1, 2).reshape(batch, key_heads, length, self.head_dim)
    value = value.transpose(1, 2).reshape(batch, key_heads, length, self.head_dim)
    if bias is None:
        cos, sin = position_embeddings
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    key_length = key.shape[-2]
    if bias is None:
        if self.config._attn_implementation == "sdpa" and not output_attentions:
            is_causal = self.is_causal and mask is None and length > 1
            output = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, dropout_p=0.0, is_causal=is_causal
            )
            scores = None
        else:
            scores = query @ key.transpose(-1, -2)
            scores /= math.sqrt(self.head_dim)
            scores = F.softmax(scores + mask, dim=-1, dtype=x.dtype)
            output = scores @ value
        output = output.view(batch, self.num_heads, length, self.head_dim)
        output = output.permute(0, 2, 1, 3)
        output = output.reshape(batch, length, self.num_heads * self.head_dim)
        output = self.dense(output)
        return output, scores
    else:
        if self.config._attn_implementation == "sdpa" and not output_attentions:
            is_causal = self.is_causal and mask is None and length > 1
            output = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask,
                dropout_p=self.attention_dropout.p if self.training else 0.0, is_causal=is_causal,
            )
            shares = None
            output = output.transpose(1, 2)
            output = output.reshape(batch, length, self.num_heads * self.head_dim)
            output = self.dense(output)
        else:
            product = query @ key.transpose(-1, -2)
            scores = product.view(batch, self.num_heads, length, key_length)
            dtype = scores.dtype
            if dtype == torch.float16 or dtype == torch.bfloat16:
                scores = scores.to(torch.float32)
            logits = scores + bias.view(batch, self.num_heads, 1, -1)
            logits *= self.inv_norm_factor
            shares = F.softmax(logits + mask, dim=-1, dtype=x.dtype)
            shares = self.attention_dropout(shares)
            reshaped = shares.view(batch, self.num_heads, length, key_length)
            output = (reshaped @ value).flatten(0, 1)
            output = self._merge_heads(output)
            output = self.dense(output)
        return output, shares


def after_kernel(self, x, bias, mask, cache, output_attentions, position_embeddings):
    if bias is not None or not self.is_causal:
        raise ValueError("this port turns its heads by their positions: it is causal and takes no bias of scores")
    query, key, value = self._split_heads(self.query_key_value(x))
    cos, sin = position_embeddings
    query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    output, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, output_attentions=output_attentions),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=self.head_dim**-0.5,
        input_layout="BSND",
    )
    return self.dense(output.flatten(2)), None


def before_split(self, fused):
    if self.new_decoder_architecture:
        batch, length, _ = fused.shape
        parts = fused.view(batch, length, -1, self.num_heads // self.num_kv_heads + 2, self.head_dim)
        query = parts[:, :, :, :-2]
        key = parts[:, :, :, [-2]]
        value = parts[:, :, :, [-1]]
        key = torch.broadcast_to(key, query.shape)
        value = torch.broadcast_to(value, query.shape)
        query, key, value = [part.flatten(2, 3) for part in (query, key, value)]
        return query, key, value
    elif not self.multi_query:
        batch_size, seq_length, width = fused.shape
        fused = fused.view(batch_size, seq_length, self.num_heads, 3, self.head_dim)
        return fused[..., 0, :], fused[..., 1, :], fused[..., 2, :]
    else:
        batch_size, seq_length, width = fused.shape
        fused = fused.view(batch_size, seq_length, self.num_heads + 2, self.head_dim)
        return fused[..., :-2, :], fused[..., [-2], :], fused[..., [-1], :]


def after_split(self, fused):
    batch, length, _ = fused.shape
    if self.new_decoder_architecture:
        parts = fused.view(batch, length, -1, self.num_heads // self.num_kv_heads + 2, self.head_dim)
        return parts[:, :, :, :-2].flatten(2, 3), parts[:, :, :, -2], parts[:, :, :, -1]
    if not self.multi_query:
        parts = fused.view(batch, length, self.num_heads, 3, self.head_dim)
        return parts[..., 0, :], parts[..., 1, :], parts[..., 2, :]
    parts = fused.view(batch, length, self.num_heads + 2, self.head_dim)
    return parts[..., :-2, :], parts[..., -2:-1, :], parts[..., -1:, :]


def before_bias(self, batch, length, past, embeddings, attention_mask, build, make):
    bias = None
    ...
    if self.use_alibi:
        ones = (
            torch.ones((batch, length + past), device=embeddings.device, dtype=torch.long)
            if attention_mask is None
            else attention_mask
        )
        bias = build(ones, self.num_heads, dtype=embeddings.dtype)
    ...
    masked = make(**...)
    if bias is not None and masked is not None and masked.ndim == 4:
        least = torch.finfo(embeddings.dtype).min
        if masked.dtype == torch.bool:
            masked = torch.where(
                masked, torch.full((), 0.0, device=masked.device, dtype=embeddings.dtype), least
            )
        bias = bias.reshape(batch, -1, *bias.shape[1:])
        masked = torch.masked_fill(
            bias / math.sqrt(self.config.hidden_size // self.num_heads), masked < -1, least
        )


def after_bias(self, batch, length, past, embeddings, attention_mask, build, make):
    bias = None
    ...
    ...
    masked = make(
        **...,
    )


def before_init(self, biased):
    self.use_alibi = biased


def after_init(self, biased):
    if biased:
        raise ValueError("this port turns its heads by their positions: it has no ALiBi")
    self.use_alibi = False


def not_split_by_thirds(self, fused):
    """All queries, then all keys: other heads than those of the rule."""
    query, key, value = fused.chunk(3, dim=-1)
    return query, key, value


def not_kernel_that_always_biases(self, x, bias, mask, cache, output_attentions, position_embeddings):
    """A bias of scores that cannot be left out is no mask."""
    fused = self.query_key_value(x)
    query, key, value = self._split_heads(fused)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    logits = query @ key.transpose(-1, -2) + bias.view(len(x), self.num_heads, 1, -1)
    logits *= self.inv_norm_factor
    shares = F.softmax(logits + mask, dim=-1, dtype=x.dtype)
    output = self.dense((shares @ value).flatten(0, 1))
    return output, shares


def _fused(q, k, v, key_heads):
    """The heads (B, S, N, D) as one projection lays them out: by groups, all queries before the others, or by heads."""
    if key_heads == 2:
        parts = torch.cat((q.unflatten(2, (2, 2)), k[:, :, :, None], v[:, :, :, None]), dim=3)
    elif key_heads == 1:
        parts = torch.cat((q, k, v), dim=2)
    else:
        parts = torch.stack((q, k, v), dim=3)
    return parts.flatten(2)


def _runs(draw, kernel, split, init_edit, bias_edit, cache_edit, mask_edits):
    """One head of keys is held against the written out scores alone: PyTorch's own kernel computes these few in fp32
    on a CPU, also the shares of 16 bits that go into the second product."""
    def caching(self, use_cache, cache, attention_mask):
        return cache_edit(self, use_cache, cache, attention_mask, False)

    runs = []
    for key_heads in (1, 2, 4):
        attributes = dict(
            num_heads=4,
            num_kv_heads=key_heads,
            head_dim=16,
            new_decoder_architecture=key_heads == 2,
            multi_query=key_heads == 1,
            query_key_value=lambda x: x,
            dense=lambda x: x,
            inv_norm_factor=0.25,
        )

        def step(self, q, k, v, cos, sin, mask, cache, key_heads=key_heads):
            self._split_heads = lambda fused: split(self, fused)
            model = draw.module(num_heads=4)
            init_edit(model, False)
            mask = bias_edit(model, 2, q.shape[1], 0, q, None, None, lambda: mask)["masked"]
            output, _ = kernel(self, _fused(q, k, v, key_heads), None, mask, cache, False, (cos, sin))
            return output.unflatten(-1, (4, 16))

        for implementation in ("eager",) if key_heads == 1 else ("eager", "sdpa"):
            asked = dict(implementation=implementation, key_heads=key_heads, **attributes)
            for window, edit in zip((None, 4), mask_edits, strict=True):
                runs.append(prefill_and_decode(draw, step, caching, edit, window=window, **asked))
    return runs


def proof_before(draw):
    masks = before_mask, before_mask__window
    return _runs(draw, before_kernel, before_split, before_init, before_bias, before_cache, masks)


def proof_after(draw):
    masks = after_mask, after_mask__window
    return _runs(draw, after_kernel, after_split, after_init, after_bias, after_cache, masks)
