"""npu_fused_infer_attention_score against softmax written out: layouts, masks, sparse modes, lengths, padding."""

import math

import pytest
import torch

from porter.npu import torch_npu
from tests.error_rule import no_further

BATCH, HEADS, KV_HEADS, SIZE = 2, 4, 2, 16
SCALE = 1 / math.sqrt(SIZE)
CAUSAL_2048 = torch.ones(2048, 2048, dtype=torch.bool).triu(1)
attention = torch_npu.npu_fused_infer_attention_score


def draw(length, kv_length, dtype=torch.float32, batch=BATCH, kv_heads=KV_HEADS, size=SIZE):
    """q, k, v in (B, S, N, D)."""
    q = torch.randn(batch, length, HEADS, size).to(dtype)
    k, v = (torch.randn(batch, kv_length, kv_heads, size).to(dtype) for _ in range(2))
    return q, k, v


def brute(q, k, v, hidden, scale=SCALE):
    """One query row of one head at a time, in q's dtype; hidden (B, Q, KV): True = not computed. Returns out, lse."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    lse = torch.full((q.shape[0], q.shape[2], q.shape[1], 1), float("-inf"), dtype=q.dtype)
    group = q.shape[2] // k.shape[2]
    for b in range(q.shape[0]):
        for i in range(q.shape[1]):
            seen = (~hidden[b, i]).nonzero()[:, 0]
            for n in range(q.shape[2] if len(seen) else 0):
                scores = (k[b, seen, n // group] @ q[b, i, n]) * scale
                out[b, i, n] = torch.softmax(scores, 0) @ v[b, seen, n // group]
                lse[b, n, i, 0] = torch.logsumexp(scores, 0)
    return out, lse


def run(q, k, v, **options):
    options = {"num_heads": q.shape[2], "num_key_value_heads": k.shape[2], "scale": SCALE} | options
    return attention(q, k, v, input_layout="BSND", **options)


def check(q, k, v, hidden, **options):
    compare(run(q, k, v, softmax_lse_flag=True, **options), q, k, v, hidden)


def compare(results, q, k, v, hidden, scale=SCALE):
    """(out, lse) of q, k, v against attention written out: by the error rule, zeros and -inf where no key is seen."""
    wide = brute(q.double(), k.double(), v.double(), hidden, scale)
    for found, eager, truth in zip(results, brute(q, k, v, hidden, scale), wide, strict=True):
        unseen = truth.isneginf() | (truth == 0)
        assert torch.equal(found[unseen].double(), truth[unseen])
        no_further(found[~unseen], eager[~unseen], truth[~unseen], roundings(q, k))


def roundings(q, k):
    """A score is a sum of D products, scaled; its exponential and the sums over the keys add a few."""
    return q.shape[-1] + k.shape[1] + 8


def see_all(length, kv_length, batch=BATCH):
    return torch.zeros(batch, length, kv_length, dtype=torch.bool)


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


def band(length, kv_length, before, after, corner):
    i, j = torch.arange(length)[:, None], torch.arange(kv_length)
    shift = kv_length - length if corner == "lower right" else 0
    return ((j > i + shift + after) | (j < i + shift - before)).expand(BATCH, length, kv_length)


LENGTHS = [(5, 5), (4, 9), (6, 3)]
FAR = 2147483647


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


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("kv_lengths", [[6, 6], [4, 9], [5], [0, 9], [1, 3, 99]])
def test_kv_beyond_the_actual_length_is_never_read(length, kv_lengths):
    q, k, v = draw(length, 9)
    used = (kv_lengths * 2)[:2]
    hidden = see_all(length, 9)
    for row, count in enumerate(used):
        hidden[row, :, count:] = True
        k[row, count:] = v[row, count:] = float("nan")
    check(q, k, v, hidden, actual_seq_lengths_kv=kv_lengths)


@pytest.mark.parametrize("sparse_mode", [0, 2, 3, 4])
def test_lengths_with_sparse_modes_count_from_each_sequence_s_own_corner(sparse_mode):
    q, k, v = draw(5, 8)
    lengths, kv_lengths = [5, 3], [8, 6]
    hidden = ~see_all(5, 8)
    for row, (length, kv_length) in enumerate(zip(lengths, kv_lengths, strict=True)):
        corner, before = ("lower right" if sparse_mode > 2 else "upper left"), 1 if sparse_mode in (0, 4) else FAR
        hidden[row, :length, :kv_length] = band(length, kv_length, before, 0, corner)[0]
        q[row, length:] = k[row, kv_length:] = v[row, kv_length:] = float("nan")
    mask = torch.zeros(5, 8, dtype=torch.bool) if sparse_mode == 0 else CAUSAL_2048
    check(q, k, v, hidden, atten_mask=mask, sparse_mode=sparse_mode, pre_tokens=1, next_tokens=0,
          actual_seq_lengths=lengths, actual_seq_lengths_kv=kv_lengths)  # fmt: skip


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("sparse_mode", [0, 3])
def test_left_padding_in_prefill(padding, sparse_mode):
    q, k, v = draw(8, 8)
    lengths = [6, 3]
    hidden = ~see_all(8, 8)
    nan = float("nan")
    for row, length in enumerate(lengths):
        begin, end = 8 - padding - length, 8 - padding
        causal = band(length, length, FAR, 0, "upper left")[0]
        hidden[row, begin:end, begin:end] = causal if sparse_mode == 3 else False
        for x in (q, k, v):
            x[row, :begin] = x[row, end:] = nan
    size = torch.tensor([padding])
    mask = CAUSAL_2048 if sparse_mode == 3 else torch.zeros(8, 8, dtype=torch.bool)
    # In mode 0 left padding switches the token counts off.
    check(q, k, v, hidden, atten_mask=mask, sparse_mode=sparse_mode, pre_tokens=0, next_tokens=0,
          actual_seq_lengths=lengths, actual_seq_lengths_kv=lengths, query_padding_size=size,
          kv_padding_size=size)  # fmt: skip


def test_left_padding_in_decode():
    q, k, v = draw(1, 9)
    hidden = ~see_all(1, 9)
    for row, (begin, end) in enumerate([(3, 7), (5, 7)]):
        hidden[row, :, begin:end] = False
        k[row, :begin] = k[row, end:] = v[row, :begin] = v[row, end:] = float("nan")
    check(q, k, v, hidden, actual_seq_lengths=[99], actual_seq_lengths_kv=[4, 2], kv_padding_size=torch.tensor([2]))
    out, _ = run(q, k, v, actual_seq_lengths_kv=[9, 2], kv_padding_size=torch.tensor(2))
    assert (out[0] == 0).all() and not out.isnan().any(), "a sequence that begins before 0 answers zeros"


def test_a_full_mask_is_read_at_the_padded_place():
    q, k, v = draw(1, 6)
    mask = torch.rand(BATCH, 6) > 0.5
    mask[:, 4] = False
    hidden = mask[:, None].clone()
    hidden[:, :, :3] = hidden[:, :, 5:] = True
    check(q, k, v, hidden, atten_mask=mask, actual_seq_lengths_kv=[2], kv_padding_size=torch.tensor([1]))


@pytest.mark.parametrize("sparse_mode", [0, 3, 4])
@pytest.mark.parametrize(("size", "value_size"), [(128, 128), (192, 128)])
def test_tnd_with_cumulative_lengths(sparse_mode, size, value_size):
    q, k = torch.randn(1, 9, HEADS, size), torch.randn(1, 12, KV_HEADS, size)
    v = torch.randn(1, 12, KV_HEADS, value_size)
    hidden = ~see_all(9, 12, batch=1)
    begin = kv_begin = 0
    for end, kv_end in [(2, 3), (2, 5), (8, 11)]:
        before = 1 if sparse_mode == 4 else FAR
        near = band(end - begin, kv_end - kv_begin, before, 0, "lower right")[0]
        hidden[0, begin:end, kv_begin:kv_end] = near if sparse_mode else False
        begin, kv_begin = end, kv_end
    out, lse = attention(
        q[0], k[0], v[0], atten_mask=CAUSAL_2048 if sparse_mode else None, sparse_mode=sparse_mode, pre_tokens=1,
        next_tokens=0, actual_seq_lengths=[2, 2, 8], actual_seq_lengths_kv=[3, 5, 11], num_heads=HEADS,
        num_key_value_heads=KV_HEADS, scale=0.1, input_layout="TND", softmax_lse_flag=True)  # fmt: skip
    compare((out[None], lse.transpose(0, 1)[None]), q, k, v, hidden, 0.1)


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


def alibi(length, kv_length, batch=1):
    """Each head's slope times how far behind the query a key is: (batch, N, Q, KV), a pse_shift."""
    slopes = torch.tensor([2.0 ** (-2 * (head + 1)) for head in range(HEADS)])
    behind = torch.arange(kv_length)[None] - torch.arange(length)[:, None] - (kv_length - length)
    return (slopes[:, None, None] * behind).expand(batch, -1, -1, -1).contiguous()


def by_weights(q, k, v, hidden, shift):
    """Softmax without the shift, its weights times exp(shift), and normalised again. In float64: out, lse."""
    groups = q.shape[2] // k.shape[2]
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) * SCALE).masked_fill(hidden[:, None], -math.inf)
    weights = scores.softmax(-1) * shift.double().exp()
    whole = weights.sum(-1, keepdim=True)
    return ((weights / whole) @ v).transpose(1, 2), scores.logsumexp(-1, keepdim=True) + whole.log()


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize(("length", "kv_length"), [(6, 6), (3, 9), (1, 9)])
def test_a_shift_is_added_to_the_scaled_scores(dtype, length, kv_length, batch):
    q, k, v = draw(length, kv_length, dtype)
    hidden = torch.ones(length, kv_length).triu(kv_length - length + 1).bool().expand(BATCH, length, kv_length)
    mask = hidden[:, :, None].transpose(1, 2)
    shift = (alibi(length, kv_length, batch) * torch.arange(1, batch + 1).view(-1, 1, 1, 1)).to(dtype)
    out, lse = run(q, k, v, pse_shift=shift, atten_mask=mask, softmax_lse_flag=True)
    truth, sums = by_weights(q, k, v, hidden, shift)
    scores = q.float().transpose(1, 2) @ k.float().repeat_interleave(2, 2).permute(0, 2, 3, 1) * SCALE + shift
    scores = scores.masked_fill(hidden[:, None], -math.inf)
    eager = (scores.softmax(-1).to(dtype) @ v.repeat_interleave(2, 2).transpose(1, 2)).transpose(1, 2)
    no_further(out, eager, truth, roundings(q, k) if dtype is torch.float32 else 3)
    no_further(lse, scores.logsumexp(-1, keepdim=True), sums, roundings(q, k))
    assert not torch.equal(out, run(q, k, v, atten_mask=mask)[0])


def test_a_longer_shift_is_cut_and_what_lies_behind_the_lengths_is_not_read():
    q, k, v = draw(3, 9)
    shift = torch.full((1, HEADS, 5, 16), math.nan)
    shift[:, :, :3, :6] = alibi(3, 6)
    found = run(q, k, v, pse_shift=shift, actual_seq_lengths_kv=[6, 6])
    wanted = run(q, k[:, :6], v[:, :6], pse_shift=alibi(3, 6))
    assert torch.equal(found[0], wanted[0])


def test_a_row_that_sees_nothing_is_zero_with_a_shift_too():
    q, k, v = draw(3, 6)
    mask = torch.zeros(1, 1, 3, 6, dtype=torch.bool)
    mask[:, :, 1] = True
    out, lse = run(q, k, v, pse_shift=alibi(3, 6), atten_mask=mask, softmax_lse_flag=True)
    assert not out[:, 1].any() and lse[:, :, 1].isneginf().all() and out[:, 0].any()


def test_sequences_of_other_lengths_have_their_own_part_of_the_shift():
    q, k, v = draw(3, 6)
    shift = torch.cat((alibi(3, 6), alibi(3, 6).flip(1)))
    both = run(q, k, v, pse_shift=shift, actual_seq_lengths_kv=[6, 4])[0]
    for row, end in enumerate((6, 4)):
        rows = slice(row, row + 1)
        alone = run(q[rows], k[rows, :end], v[rows, :end], pse_shift=shift[rows, :, :, :end].contiguous())[0]
        assert torch.equal(both[rows], alone)
