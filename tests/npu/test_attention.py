"""npu_fused_infer_attention_score against softmax written out: layouts, masks, sparse modes, rounding."""

import pytest
import torch

from tests.error_rule import no_further
from tests.npu.brute import (
    BATCH,
    CAUSAL_2048,
    FAR,
    HEADS,
    KV_HEADS,
    SCALE,
    SIZE,
    attention,
    band,
    brute,
    check,
    draw,
    roundings,
    run,
    see_all,
)

LENGTHS = [(5, 5), (4, 9), (6, 3)]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(("length", "kv_length"), [(1, 9), (5, 5), (4, 9), (6, 3)])
def test_grouped_heads(kv_heads, length, kv_length):
    q, k, v = draw(length, kv_length, kv_heads=kv_heads)
    check(q, k, v, see_all(length, kv_length))


def test_num_key_value_heads_zero_means_num_heads():
    q, k, v = draw(3, 3, kv_heads=HEADS)
    assert torch.equal(run(q, k, v, num_key_value_heads=0)[0], run(q, k, v, num_key_value_heads=HEADS)[0])


@pytest.mark.parametrize("length", [1, 5])
def test_layouts_agree(length):
    q, k, v = draw(length, 7)
    wanted = run(q, k, v)[0]
    options = {"num_heads": HEADS, "num_key_value_heads": KV_HEADS, "scale": SCALE}
    flat = attention(q.flatten(2), k.flatten(2), v.flatten(2), input_layout="BSH", **options)[0]
    assert torch.equal(flat, wanted.flatten(2)) and flat.is_contiguous()
    first = [x.transpose(1, 2).contiguous() for x in (q, k, v)]  # other strides, and so another way through a product
    truth, _ = brute(q.double(), k.double(), v.double(), see_all(length, 7))
    heads_first, mixed = (attention(*first, input_layout=way, **options)[0] for way in ("BNSD", "BNSD_BSND"))
    for found in (heads_first.transpose(1, 2), mixed):
        no_further(found, wanted, truth, roundings(q, k))


def test_views_of_a_fused_projection():
    qkv = torch.randn(BATCH, 5, (HEADS + 2 * KV_HEADS) * SIZE)
    parts = qkv.split((HEADS * SIZE, KV_HEADS * SIZE, KV_HEADS * SIZE), -1)
    q, k, v = (part.view(BATCH, 5, -1, SIZE) for part in parts)
    assert not q.is_contiguous()
    check(q, k, v, see_all(5, 5))


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.int8, torch.uint8])
def test_true_in_a_mask_is_not_computed(mask_dtype):
    q, k, v = draw(1, 4, batch=1)
    mask = torch.tensor([[0, 1, 1, 1]]).to(mask_dtype)
    hidden = torch.tensor([[[False, True, True, True]]])
    no_further(run(q, k, v, atten_mask=mask)[0], brute(q, k, v, hidden)[0], v[:, :1].repeat_interleave(2, 2).double(),
               roundings(q, k))  # fmt: skip


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (2, 5, 7), (1, 1, 5, 7), (2, 1, 5, 7), (8, 16), (2, 1, 5, 32)])
@pytest.mark.parametrize("sparse_mode", [0, 1])
def test_full_masks(shape, sparse_mode):
    q, k, v = draw(5, 7)
    mask = torch.rand(shape) > 0.5
    mask[..., 0] = False
    hidden = mask[..., :5, :7].reshape(-1, 5, 7).expand(BATCH, 5, 7)
    check(q, k, v, hidden, atten_mask=mask, sparse_mode=sparse_mode)


@pytest.mark.parametrize("shape", [(2, 7), (2, 1, 7), (2, 1, 1, 7), (2, 1, 1, 9)])
@pytest.mark.parametrize("sparse_mode", [0, 3])
def test_decode_takes_a_full_mask_in_any_sparse_mode(shape, sparse_mode):
    q, k, v = draw(1, 7)
    mask = torch.rand(shape) > 0.5
    mask[..., 0] = False
    hidden = mask[..., :7].reshape(BATCH, 1, 7)
    check(q, k, v, hidden, atten_mask=mask, sparse_mode=sparse_mode, pre_tokens=1, next_tokens=0)


@pytest.mark.parametrize(("length", "kv_length"), LENGTHS)
@pytest.mark.parametrize(("sparse_mode", "corner"), [(2, "upper left"), (3, "lower right")])
def test_causal_modes(length, kv_length, sparse_mode, corner):
    hidden = band(length, kv_length, FAR, 0, corner)
    # Modes 2 and 3 know no token counts: these would hide everything.
    check(*draw(length, kv_length), hidden, atten_mask=CAUSAL_2048, sparse_mode=sparse_mode, pre_tokens=0,
          next_tokens=0)  # fmt: skip


@pytest.mark.parametrize("mask", [CAUSAL_2048.to(torch.int8), CAUSAL_2048[None], CAUSAL_2048[None, None]])
def test_compressed_mask_forms(mask):
    check(*draw(4, 9), band(4, 9, FAR, 0, "lower right"), atten_mask=mask, sparse_mode=3)


@pytest.mark.parametrize(("length", "kv_length"), LENGTHS)
@pytest.mark.parametrize(("before", "after"), [(2, 0), (1, 1), (0, 0), (FAR, 0), (3, -1), (-1, 2)])
def test_band_mode_counts_from_the_lower_right(length, kv_length, before, after):
    hidden = band(length, kv_length, before, after, "lower right")
    check(*draw(length, kv_length), hidden, atten_mask=CAUSAL_2048, sparse_mode=4, pre_tokens=before,
          next_tokens=after)  # fmt: skip


@pytest.mark.parametrize(("length", "kv_length"), LENGTHS)
def test_default_mode_bands_a_full_mask_from_the_upper_left(length, kv_length):
    mask = torch.rand(length, kv_length) > 0.7
    hidden = mask | band(length, kv_length, 1, 0, "upper left")
    check(*draw(length, kv_length), hidden, atten_mask=mask, pre_tokens=1, next_tokens=0)


@pytest.mark.parametrize("options", [{}, {"sparse_mode": 1, "atten_mask": torch.zeros(4, 6, dtype=torch.bool)}])
def test_token_counts_do_nothing_without_a_mask_or_in_mode_1(options):
    check(*draw(4, 6), see_all(4, 6), pre_tokens=1, next_tokens=0, **options)


def test_rows_that_see_nothing_are_zero():
    q, k, v = draw(4, 6)
    mask = torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    mask[1, :, :2] = True
    out, lse = run(q, k, v, atten_mask=mask, softmax_lse_flag=True)
    assert (out[1, :2] == 0).all() and lse[1, :, :2].isneginf().all()
    check(q, k, v, mask[:, 0], atten_mask=mask)
    for dtype in (torch.bfloat16, torch.float16):
        out, _ = run(q.to(dtype), k.to(dtype), v.to(dtype), atten_mask=mask)
        assert (out[1, :2] == 0).all() and not out.isnan().any()


def test_log_sum_exp_only_when_asked_for():
    q, k, v = draw(3, 5)
    assert run(q, k, v)[1].shape == (0,)
    lse = run(q.bfloat16(), k.bfloat16(), v.bfloat16(), softmax_lse_flag=True)[1]
    assert lse.shape == (BATCH, HEADS, 3, 1) and lse.dtype == torch.float32


@pytest.mark.parametrize("length", [1, 24])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding(dtype, length):
    q, k, v = draw(length, 24, dtype)
    hidden = torch.zeros(length, 24, dtype=torch.bool) if length == 1 else torch.ones(24, 24).triu(1).bool()
    mask = hidden.expand(BATCH, length, 24)
    truth, _ = brute(q.double(), k.double(), v.double(), mask)
    # transformers' eager attention: products in the dtype, softmax in float32
    wide_k, wide_v = (x.repeat_interleave(2, 2).transpose(1, 2) for x in (k, v))
    scores = (q.transpose(1, 2) @ wide_k.transpose(2, 3)) * SCALE
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.float32).to(dtype)
    eager = (weights @ wide_v).transpose(1, 2)
    out, _ = run(q, k, v, atten_mask=mask)
    no_further(out, eager, truth, roundings=3)  # inside in float32: q, k and v are exact, weights and result rounded


@pytest.mark.parametrize(("length", "kv_length"), [(1, 300), (40, 40)])
def test_float32_agrees_with_transformers_sdpa(length, kv_length):
    q, k, v = draw(length, kv_length)
    mask = torch.ones(length, kv_length).triu(kv_length - length + 1).bool()
    hidden = mask.expand(BATCH, length, kv_length)
    out, _ = run(q, k, v, atten_mask=hidden)
    wide_k, wide_v = (x.repeat_interleave(2, 2).transpose(1, 2) for x in (k, v))
    sdpa = torch.nn.functional.scaled_dot_product_attention(q.transpose(1, 2), wide_k, wide_v, attn_mask=~mask)
    truth, _ = brute(q.double(), k.double(), v.double(), hidden)
    no_further(out, sdpa.transpose(1, 2), truth, roundings(q, k))
