"""npu_fused_infer_attention_score on sequences of other lengths: padded left or right, or laid end to end."""

import pytest
import torch

from tests.npu.brute import (
    BATCH,
    CAUSAL_2048,
    FAR,
    HEADS,
    KV_HEADS,
    attention,
    band,
    check,
    compare,
    draw,
    run,
    see_all,
)


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
