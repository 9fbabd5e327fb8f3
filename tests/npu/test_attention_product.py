"""Attention's arithmetic: one query in float32 with its log-sum-exp, as near to the truth as the two apart."""

import pytest
import torch

from porter.npu.attention_product import attend, attend_once_summed, log_sum_exp
from tests.error_rule import no_further


def drawn(*sizes, seed):
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("masked", [None, "some", "a row of all"])
def test_one_query_in_float32_has_its_log_sum_exp_of_the_same_scores(masked):
    """A row that sees nothing is zeros with -inf."""
    q, k, v = drawn(3, 8, 1, 64, seed=0), drawn(3, 2, 40, 64, seed=1), drawn(3, 2, 40, 64, seed=2)
    keep = None if masked is None else drawn(3, 1, 1, 40, seed=3) > -0.5
    if masked == "a row of all":
        keep[1] = False
    found = attend_once_summed(q, k, v, keep, 0.3)
    apart = attend(q, k, v, keep, 0.3), log_sum_exp(q, k, keep, 0.3)
    wide = q.double(), k.double().repeat_interleave(4, 1), v.double().repeat_interleave(4, 1)
    scores = 0.3 * wide[0] @ wide[1].transpose(-1, -2)
    scores = scores if keep is None else scores.masked_fill(~keep, float("-inf"))
    truth = scores.softmax(-1).nan_to_num() @ wide[2], scores.logsumexp(-1, keepdim=True)
    for one, other, true in zip(found, apart, truth, strict=True):
        assert one.shape == other.shape and one.dtype is torch.float32
        seen = true.isfinite()
        assert torch.equal(one.isfinite(), seen) and torch.equal(one[~seen], true[~seen].float())
        no_further(one[seen], other[seen], true[seen], 64)  # a score is a sum of 64 products
    assert masked != "a row of all" or not found[0][1].any()
