"""Attention with rope parts, against sums over single heads and positions in float64."""

import math
import re

import pytest
import torch

from porter.npu import ContractError, torch_npu
from tests.error_rule import no_further

bf16, fp16, f32 = torch.bfloat16, torch.float16, torch.float32
CAUSAL = torch.ones(2048, 2048, dtype=torch.bool).triu(1)


def drawn(batch, length, slots, heads, kv_heads, size, dtype):
    """BSND."""
    sizes = ((length, heads, size), (slots, kv_heads, size), (length, heads, 64), (slots, kv_heads, 64))
    return [torch.randn(batch, *rest).to(dtype) / 4 for rest in sizes]


def by_head(q, k, v, q_rope, k_rope, scale, lengths, causal):
    """(B, S, N, D) in fp64; query i of a row of length l sees keys up to i + l - S."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=torch.float64)
    share = q.shape[2] // k.shape[2]
    for row in range(q.shape[0]):
        for head in range(q.shape[2]):
            for at in range(q.shape[1]):
                end = lengths[row] - (q.shape[1] - 1 - at if causal else 0)
                keys, ropes = (part[row, :end, head // share].double() for part in (k, k_rope))
                scores = keys @ q[row, at, head].double() + ropes @ q_rope[row, at, head].double()
                out[row, at, head] = (scores * scale).softmax(0) @ v[row, :end, head // share].double()
    return out


def laid_out(tensor, layout):
    if layout == "BSH":
        return tensor.flatten(2)
    return tensor.transpose(1, 2).contiguous() if layout.startswith("BNSD") else tensor


def attend(q, k, v, q_rope, k_rope, layout, **options):
    parts = [laid_out(part, layout) for part in (q, k, v, q_rope, k_rope)]
    out, lse = torch_npu.npu_fused_infer_attention_score(
        *parts[:3], query_rope=parts[3], key_rope=parts[4], num_heads=q.shape[2], num_key_value_heads=k.shape[2],
        input_layout=layout, **options,
    )  # fmt: skip
    if layout == "BNSD":
        out = out.transpose(1, 2)
    return out.reshape(*q.shape[:3], v.shape[-1]), lse


@pytest.mark.parametrize("layout", ["BSH", "BSND", "BNSD"])
@pytest.mark.parametrize(("length", "heads"), [(1, 16), (1, 128), (5, 4)])
def test_absorbed(dtype, layout, length, heads):
    """The latent is key and value; all heads share it."""
    q, latent, q_rope, k_rope = drawn(2, length, 9, heads, 1, 512, dtype)
    scale, lengths = 1 / math.sqrt(192), [9, 6]
    options = {"sparse_mode": 3, "atten_mask": CAUSAL} if length > 1 else {}
    out, _ = attend(q, latent, latent, q_rope, k_rope, layout, scale=scale, actual_seq_lengths_kv=lengths, **options)
    truth = by_head(q, latent, latent, q_rope, k_rope, scale, lengths, causal=length > 1)
    rounded = by_head(*(part.float() for part in (q, latent, latent, q_rope, k_rope)), scale, lengths, length > 1)
    no_further(out, rounded.to(dtype), truth, 600 if dtype is f32 else 3)


@pytest.mark.parametrize("layout", ["BSH", "BSND", "BNSD", "BNSD_BSND"])
@pytest.mark.parametrize("length", [1, 5])
def test_expanded(dtype, layout, length):
    q, k, q_rope, k_rope = drawn(2, length, 5, 4, 4, 128, dtype)
    v = torch.randn(2, 5, 4, 128).to(dtype)
    mask = torch.zeros(2, 1, length, 5, dtype=torch.bool)
    mask[0, :, :, 4], mask[1, :, :, 3:] = True, True
    out, lse = attend(q, k, v, q_rope, k_rope, layout, scale=0.07, atten_mask=mask, softmax_lse_flag=True)
    truth = by_head(q, k, v, q_rope, k_rope, 0.07, [4, 3], causal=False)
    no_further(out, truth.to(dtype), truth, 300 if dtype is f32 else 3)
    joined = [torch.cat(pair, -1).double() for pair in ((q, q_rope), (k, k_rope))]
    scores = torch.einsum("bqnd,bknd->bnqk", *joined).masked_fill(mask, float("-inf")) * 0.07
    torch.testing.assert_close(lse, scores.logsumexp(-1, keepdim=True).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "kv_heads"), [(512, 1), (128, 4)])
def test_end_to_end_in_one_dimension(size, kv_heads):
    q, k, q_rope, k_rope = (part[0] for part in drawn(1, 5, 9, 4, kv_heads, size, f32))
    out, _ = torch_npu.npu_fused_infer_attention_score(
        q, k, k, query_rope=q_rope, key_rope=k_rope, num_heads=4, num_key_value_heads=kv_heads, input_layout="TND",
        scale=0.05, sparse_mode=3, atten_mask=CAUSAL, actual_seq_lengths=[2, 5], actual_seq_lengths_kv=[4, 9],
    )  # fmt: skip
    for here, there in ((slice(0, 2), slice(0, 4)), (slice(2, 5), slice(4, 9))):
        parts = [part[at][None] for part, at in ((q, here), (k, there), (k, there), (q_rope, here), (k_rope, there))]
        truth = by_head(*parts, 0.05, [parts[1].shape[1]], causal=True)
        no_further(out[here][None], truth.float(), truth, 600)


@pytest.mark.parametrize("mode", [0, 4])
def test_one_position_reads_a_band_only_where_it_is_asked_for(mode):
    q, latent, q_rope, k_rope = drawn(1, 1, 9, 4, 1, 512, f32)
    options = {"sparse_mode": 4, "atten_mask": CAUSAL, "pre_tokens": 3, "next_tokens": 0} if mode else {}
    out, _ = attend(q, latent, latent, q_rope, k_rope, "BSND", scale=0.05, **options)
    seen = slice(5, 9) if mode else slice(0, 9)
    truth = by_head(q, latent[:, seen], latent[:, seen], q_rope, k_rope[:, seen], 0.05, [4 if mode else 9], False)
    no_further(out, truth.float(), truth, 600)


def test_shapes_are_known_before_it_runs():
    q, latent, q_rope, k_rope = (part.to("meta") for part in drawn(2, 1, 9, 8, 1, 512, bf16))
    assert attend(q, latent, latent, q_rope, k_rope, "BSND")[0].shape == (2, 1, 8, 512)


Q, K, QR, KR = (part.to("meta") for part in drawn(2, 1, 9, 8, 1, 512, bf16))


def call(q=Q, k=K, v=None, q_rope=QR, k_rope=KR, layout="BSND", **options):
    named = {"num_heads": q.shape[2], "num_key_value_heads": k.shape[2], "input_layout": layout} | options
    return lambda: torch_npu.npu_fused_infer_attention_score(
        q, k, k if v is None else v, query_rope=q_rope, key_rope=k_rope, **named
    )


SEVERAL, SEVERAL_ROPE = Q.expand(2, 3, 8, 512).contiguous(), QR.expand(2, 3, 8, 64).contiguous()
REFUSED = [
    (call(k_rope=None), "key_rope must be given where the other rope part is, got None"),
    (call(q_rope=None), "query_rope must be given"),
    (call(Q[..., :256], K[..., :256]), "query must have D 128 or 512 beside a query_rope, got D=256"),
    (call(q_rope=QR.half()), "query_rope must have the dtype of query (torch.bfloat16), got torch.float16"),
    (call(q_rope=QR[..., :32]), "query_rope must have the shape of query (2, 1, 8, 512) with D 64, got (2, 1, 8, 32)"),
    (call(k_rope=KR[:, :8]), "key_rope must have the shape of key (2, 9, 1, 512) with D 64, got (2, 8, 1, 64)"),
    (call(k_rope=K[..., :64]), "key_rope must be contiguous, got strides"),
    (call(kv_padding_size=torch.ones(1, dtype=torch.int64)), "kv_padding_size must be left out beside rope parts"),
    (call(pse_shift=torch.zeros(1, 8, 1, 9, dtype=bf16, device="meta")), "pse_shift must be left out beside"),
    (call(Q[:, :, :6], q_rope=QR[:, :, :6].contiguous()), "num_heads must be one of 1, 2, 4, 8, 16, 32, 64, 128"),
    (call(Q, K.expand(2, 9, 2, 512), k_rope=KR.expand(2, 9, 2, 64).contiguous()), "num_key_value_heads must be 1 with"),
    (call(softmax_lse_flag=True), "softmax_lse_flag must be False with D 512"),
    (call(sparse_mode=3, atten_mask=CAUSAL), "sparse_mode must be 0 or 4 with D 512 and one query position, got 3"),
    (call(SEVERAL, q_rope=SEVERAL_ROPE), "sparse_mode must be 3 or 4 with D 512 and several query positions, got 0"),
    (call(atten_mask=torch.zeros(2, 1, 1, 9, dtype=torch.bool)), "atten_mask must be left out with D 512 and"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused(make, message):
    with pytest.raises(ContractError, match=re.escape(message)):
        make()


def test_other_layouts_of_the_absorbed_form_are_refused():
    parts = [laid_out(part, "BNSD") for part in drawn(2, 1, 9, 8, 1, 512, bf16)]
    with pytest.raises(ContractError, match="input_layout must be one of BSH, BSND, BNSD, TND with D 512"):
        torch_npu.npu_fused_infer_attention_score(
            parts[0], parts[1], parts[1], query_rope=parts[2], key_rope=parts[3], num_heads=8, num_key_value_heads=1,
            input_layout="BNSD_BSND",
        )  # fmt: skip
