"""Attention over latents, expanded at one width and absorbed: a softmax written out in fp64 is the truth."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from porter.npu import torch_npu
from porter.runtime import absorbed_attention, absorbs, at_one_width
from porter.verify.pair import NpuOps
from tests.error_rule import no_further

BATCH, HEADS, SLOTS, LATENT, NOPE, ROPE = 2, 4, 12, 32, 16, 8
WIDTHS = [8, 24, 40]  # of the values: narrower than the keys' 24, as wide, wider


def drawn(width, dtype=torch.float32, queries=1, heads=HEADS, sizes=(LATENT, ROPE)):
    torch.manual_seed(width)
    projection = nn.Linear(sizes[0], heads * (NOPE + width), bias=False, dtype=dtype).requires_grad_(False)
    query = torch.randn(BATCH, queries, heads, NOPE + sizes[1], dtype=dtype)
    latent, rope = (torch.randn(BATCH, SLOTS, 1, size, dtype=dtype) for size in sizes)
    masked = torch.zeros(BATCH, 1, queries, SLOTS, dtype=torch.bool)
    masked[0, ..., :3] = True
    return query, latent, rope, projection, masked


def expanded(latent, rope, projection, heads=HEADS):
    states = projection(latent).view(BATCH, latent.shape[1], heads, -1)
    nope, value = states[..., :NOPE], states[..., NOPE:]
    return torch.cat((nope, rope.expand(-1, -1, heads, -1)), -1), value


def written_out(query, latent, rope, projection, masked):
    wide = nn.Linear(*projection.weight.shape[::-1], bias=False, dtype=torch.float64).requires_grad_(False)
    wide.weight.copy_(projection.weight)
    query, latent, rope = query.double(), latent.double(), rope.double()
    key, value = expanded(latent, rope, wide, query.shape[2])
    scores = torch.einsum("bqnd,bknd->bnqk", query, key) * 0.2
    weights = scores.masked_fill(masked, float("-inf")).softmax(-1)
    return torch.einsum("bnqk,bknd->bqnd", weights, value)


@pytest.mark.parametrize("width", WIDTHS)
def test_expanded_at_one_width(width):
    query, latent, rope, projection, masked = drawn(width, queries=5)
    key, value = expanded(latent, rope, projection)
    states = at_one_width(query, key, value)
    assert {tensor.shape[-1] for tensor in states} == {max(24, width)}
    out, _ = torch_npu.npu_fused_infer_attention_score(
        *states, atten_mask=masked, num_heads=HEADS, num_key_value_heads=HEADS, scale=0.2, input_layout="BSND"
    )
    truth = written_out(query, latent, rope, projection, masked)
    no_further(out[..., :width], truth.float(), truth, LATENT + NOPE + ROPE + SLOTS)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("padded", [True, False])
def test_absorbed(width, padded):
    query, latent, rope, projection, masked = drawn(width)
    masked = masked if padded else torch.zeros_like(masked)
    out = absorbed_attention(
        query,
        latent,
        rope,
        projection.weight,
        atten_mask=masked if padded else None,
        actual_seq_lengths_kv=None,
        scale=0.2,
    )
    truth = written_out(query, latent, rope, projection, masked)
    assert out.shape == (BATCH, 1, HEADS, width)
    no_further(out, truth.float(), truth, LATENT + NOPE + ROPE + SLOTS + LATENT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_absorbed_in_16_bits_is_no_further_off_than_the_source_s_expansion(dtype, width):
    query, latent, rope, projection, masked = drawn(width, dtype)
    key, value = expanded(latent, rope, projection)
    heads_first = (states.transpose(1, 2) for states in (query, key, value))
    source = nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=~masked, scale=0.2).transpose(1, 2)
    out = absorbed_attention(
        query, latent, rope, projection.weight, atten_mask=masked, actual_seq_lengths_kv=None, scale=0.2
    )
    no_further(out, source, written_out(query, latent, rope, projection, masked), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("seen", [None, SLOTS - 3])
def test_absorbed_at_the_op_s_own_widths_is_one_kernel_where_there_is_no_mask(dtype, seen):
    query, latent, rope, projection, masked = drawn(16, dtype, sizes=(512, 64))
    ask = {"actual_seq_lengths_kv": seen and [seen] * BATCH, "scale": 0.2}
    nothing = torch.zeros_like(masked)[..., : seen or SLOTS]
    with NpuOps() as fused:
        out = absorbed_attention(query, latent, rope, projection.weight, atten_mask=None, **ask)
    with NpuOps() as written:
        source = absorbed_attention(query, latent, rope, projection.weight, atten_mask=torch.zeros_like(masked), **ask)
    assert fused.calls == {"npu_fused_infer_attention_score": 1} and not written.calls
    truth = written_out(query, latent[:, :seen], rope[:, :seen], projection, nothing)
    if dtype is torch.float32:
        no_further(out, truth.float(), truth, 512 + NOPE + 64 + SLOTS + 512)
    else:
        no_further(out, source, truth, 4)


def test_heads_that_the_op_does_not_take_are_written_out():
    query, latent, rope, projection, masked = drawn(16, heads=3, sizes=(512, 64))
    with NpuOps() as ops:
        out = absorbed_attention(
            query, latent, rope, projection.weight, atten_mask=None, actual_seq_lengths_kv=None, scale=0.2
        )
    assert not ops.calls
    truth = written_out(query, latent, rope, projection, torch.zeros_like(masked))
    no_further(out, truth.float(), truth, 512 + NOPE + 64 + SLOTS + 512)


def test_what_lies_behind_the_lengths_is_never_read():
    query, latent, rope, projection, masked = drawn(8)
    lengths = [SLOTS - 2] * BATCH
    ask = {"atten_mask": masked, "actual_seq_lengths_kv": lengths, "scale": 0.2}
    before = absorbed_attention(query, latent, rope, projection.weight, **ask)
    latent[:, -2:], rope[:, -2:] = float("nan"), float("inf")
    assert torch.equal(absorbed_attention(query, latent, rope, projection.weight, **ask), before)


def hooked(projection):
    projection.register_forward_hook(lambda module, given, out: 2 * out)
    return projection


def hooked_before(projection):
    projection.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    return projection


def exchanged(projection):
    projection.forward = lambda states: 2 * nn.functional.linear(states, projection.weight)
    return projection


def parametrized(projection):
    return parametrize.register_parametrization(projection, "weight", nn.Identity()) or projection


class Quantized(nn.Linear):
    pass


OTHERS = {
    "hooked": hooked,
    "hooked before": hooked_before,
    "another forward": exchanged,
    "parametrized": parametrized,
    "another class": lambda projection: Quantized(LATENT, 8, bias=False),
    "a bias": lambda projection: nn.Linear(LATENT, 8),
    "another dtype": lambda projection: projection.half(),
    "elsewhere": lambda projection: projection.to("meta"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_is_more_than_a_product_is_not_absorbed(other):
    query, _, _, projection, _ = drawn(8)
    assert absorbs(query, projection)
    assert not absorbs(query, other(projection))


def test_several_tokens_are_not_absorbed():
    query, _, _, projection, _ = drawn(8, queries=2)
    assert not absorbs(query, projection)
