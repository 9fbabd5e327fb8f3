"""npu_fused_infer_attention_score with a pse_shift, which is added to the scaled scores."""

import math

import pytest
import torch

from tests.error_rule import no_further
from tests.npu.brute import (
    BATCH,
    HEADS,
    SCALE,
    draw,
    roundings,
    run,
)


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
