"""Routers against scores, groups and choices worked out one by one in Python's own double precision."""

import math

import pytest
import torch

from porter.npu import ContractError, torch_npu
from porter.npu.moe_gating import _away_from_zero

bf16, f32 = torch.bfloat16, torch.float32


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / math.fsum(exponentials) for value in exponentials]


def sigmoid(row):
    return [1 / (1 + math.exp(-value)) for value in row]


def best(values, k):
    return sorted(range(len(values)), key=lambda index: -values[index])[:k]


def chosen(row, bias, k, k_group, group_count, mode, norm_type, factor):
    """(experts, weights) of one token."""
    scores = sigmoid(row) if norm_type else softmax(row)
    biased = [score + extra for score, extra in zip(scores, bias or [0.0] * len(row), strict=True)]
    size = len(row) // group_count
    groups = [biased[start : start + size] for start in range(0, len(row), size)]
    worth = [sum(sorted(group)[-2:]) if mode else max(group) for group in groups]
    allowed = [group * size + place for group in best(worth, k_group) for place in range(size)]
    experts = [allowed[index] for index in best([biased[expert] for expert in allowed], k)]
    total = sum(scores[expert] for expert in experts) + 1e-20 if norm_type else 1.0
    return experts, [scores[expert] / total * factor for expert in experts]


@pytest.mark.parametrize("shape", [(1, 4), (9, 8), (2, 3, 60), (7, 128)])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_softmax_then_the_k_largest(dtype, shape, k):
    x = (torch.randperm(math.prod(shape)).view(shape) / math.prod(shape) * 8 - 4).to(dtype)
    weights, experts, row_idx = torch_npu.npu_moe_gating_top_k_softmax(x, None, k)
    rows = x.double().view(-1, shape[-1]).tolist()
    wanted = [[best(row, k), [softmax(row)[expert] for expert in best(row, k)]] for row in rows]
    assert weights.dtype == dtype and experts.dtype == row_idx.dtype == torch.int32
    assert weights.shape == experts.shape == row_idx.shape == (*shape[:-1], k)
    if dtype is f32:  # in 16 bits neighbours fall together
        assert experts.view(-1, k).tolist() == [row[0] for row in wanted]
    truth = torch.tensor([row[1] for row in wanted], dtype=torch.float64)
    ulp = torch.finfo(dtype).eps if dtype is not f32 else 4 * torch.finfo(f32).eps
    assert ((weights.double().view(-1, k) - truth).abs() <= ulp * truth).all()


def test_weights_of_a_softmax_are_not_made_to_sum_to_one():
    x = torch.tensor([[0.0, math.log(2), math.log(5)]])
    weights, experts, _ = torch_npu.npu_moe_gating_top_k_softmax(x, None, 2)
    assert experts.tolist() == [[2, 1]] and weights.tolist() == [pytest.approx([5 / 8, 2 / 8])]


def test_row_idx_counts_down_the_columns():
    row_idx = torch_npu.npu_moe_gating_top_k_softmax(torch.randn(3, 4), None, 2)[2]
    assert row_idx.tolist() == [[0, 3], [1, 4], [2, 5]] and row_idx.is_contiguous()
    deep = torch_npu.npu_moe_gating_top_k_softmax(torch.randn(2, 2, 4), None, 3)[2]
    assert deep.tolist() == [[[0, 4, 8], [1, 5, 9]], [[2, 6, 10], [3, 7, 11]]]


def test_a_finished_row_has_no_expert_but_its_weights():
    x = torch.randn(3, 5)
    finished = torch.tensor([False, True, False])
    weights, experts, _ = torch_npu.npu_moe_gating_top_k_softmax(x, finished, 2)
    plain, chosen_freely, _ = torch_npu.npu_moe_gating_top_k_softmax(x, None, 2)
    assert torch.equal(weights, plain) and experts[1].tolist() == [5, 5]
    assert torch.equal(experts[::2], chosen_freely[::2])


def test_bfloat16_weights_are_rounded_away_from_zero_in_the_middle():
    middle = torch.tensor([1 + 1 / 256, 1 + 3 / 256, 0.5 + 1 / 512, 0.25])
    assert _away_from_zero(middle).tolist() == [1 + 2 / 256, 1 + 4 / 256, 0.5 + 2 / 512, 0.25]
    near = torch.rand(1000)
    moved = (_away_from_zero(near).float() - near).abs()
    assert (moved <= (near.bfloat16().float() - near).abs()).all()


@pytest.mark.parametrize("op", ["npu_moe_gating_top_k_softmax", "npu_moe_gating_top_k"])
@pytest.mark.parametrize(("experts", "k"), [(8, 2), (64, 8), (128, 8), (256, 8)])
def test_equal_scores_are_chosen_as_torch_chooses(op, experts, k):
    """bfloat16 logits are often equal, and a port must take the expert that its source takes."""
    x = torch.randn(500, experts).bfloat16()
    source = x.softmax(-1, dtype=f32).topk(k, -1)[1]
    ranked = x.sort(-1, descending=True)[0]
    assert (ranked[:, k - 1] == ranked[:, k]).any(), "no tie across the k-th place in this draw"
    found = getattr(torch_npu, op)(x, k=k)[1]
    assert torch.equal(found.long(), source)


def test_all_scores_equal_still_give_k_different_experts():
    for found in (
        torch_npu.npu_moe_gating_top_k_softmax(torch.zeros(3, 8), None, 4),
        torch_npu.npu_moe_gating_top_k(torch.zeros(3, 8), 4, k_group=2, group_count=2, norm_type=1),
    ):
        assert all(len(set(row)) == 4 and min(row) >= 0 and max(row) < 8 for row in found[1].tolist())
        assert found[0].eq(found[0][0, 0]).all()


@pytest.mark.parametrize("norm_type", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("experts", "k", "k_group", "group_count", "mode"),
    [(16, 4, 1, 1, 0), (24, 4, 2, 4, 0), (24, 4, 2, 4, 1), (256, 8, 4, 8, 1), (64, 6, 8, 8, 1), (9, 3, 1, 3, 0)],
)
def test_top_k_of_groups(norm_type, biased, experts, k, k_group, group_count, mode):
    x, bias = torch.randn(11, experts), torch.randn(experts) if biased else None
    options = {"k_group": k_group, "group_count": group_count, "group_select_mode": mode, "norm_type": norm_type}
    weights, found, scores = torch_npu.npu_moe_gating_top_k(
        x, k, bias=bias, routed_scaling_factor=2.5, out_flag=True, **options
    )
    wanted = [
        chosen(row, bias.double().tolist() if biased else None, k, k_group, group_count, mode, norm_type, 2.5)
        for row in x.double().tolist()
    ]
    assert found.tolist() == [experts for experts, _ in wanted] and found.dtype == torch.int32
    torch.testing.assert_close(weights, torch.tensor([weights for _, weights in wanted]), rtol=2e-6, atol=0)
    norms = [sigmoid(row) if norm_type else softmax(row) for row in x.double().tolist()]
    torch.testing.assert_close(scores, torch.tensor(norms), rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [bf16, torch.float16], ids=str)
def test_16_bit_logits_are_scored_in_float32_and_rounded_once(dtype):
    x, bias = torch.randn(9, 32).to(dtype), torch.randn(32).to(dtype)
    options = {"k_group": 2, "group_count": 4, "group_select_mode": 1, "norm_type": 1, "routed_scaling_factor": 2.5}
    weights, experts, _ = torch_npu.npu_moe_gating_top_k(x, 3, bias=bias, **options)
    wide, same, _ = torch_npu.npu_moe_gating_top_k(x.float(), 3, bias=bias.float(), **options)
    assert torch.equal(experts, same) and torch.equal(weights, wide.to(dtype))


def test_the_bias_chooses_and_does_not_weigh():
    x, bias = torch.zeros(1, 6), torch.tensor([0.0, 9.0, 0.0, 8.0, 0.0, 0.0])
    weights, experts, _ = torch_npu.npu_moe_gating_top_k(x, 2, bias=bias, norm_type=1)
    assert experts.tolist() == [[1, 3]] and weights.tolist() == [[0.5, 0.5]]


def test_an_expert_of_another_group_is_never_chosen():
    """Not even where all scores of the best group are negative with their bias."""
    bias = torch.tensor([-5.0, -6.0, -7.0, -9.0, -9.0, -9.0])
    found = torch_npu.npu_moe_gating_top_k(torch.zeros(1, 6), 3, bias=bias, k_group=1, group_count=2, norm_type=1)[1]
    assert found.tolist() == [[0, 1, 2]]


def test_scores_that_are_not_asked_for_are_not_to_be_used():
    assert torch_npu.npu_moe_gating_top_k(torch.randn(2, 8), 2)[2].isnan().all()


X = torch.zeros(3, 8)
REFUSED = [
    (lambda: torch_npu.npu_moe_gating_top_k_softmax(X, None, 9), "k must be 1 to the last size of x (3, 8), 1024"),
    (lambda: torch_npu.npu_moe_gating_top_k_softmax(X, None, 0), "k must be 1 to the last size"),
    (lambda: torch_npu.npu_moe_gating_top_k_softmax(torch.zeros(1, 2000), None, 1025), "1024 at most, got 1025"),
    (lambda: torch_npu.npu_moe_gating_top_k_softmax(X[0], None, 1), "x must have 2 to 3 dimensions"),
    (lambda: torch_npu.npu_moe_gating_top_k_softmax(X.double()), "x must be one of torch.float16"),
    (lambda: torch_npu.npu_moe_gating_top_k_softmax(X, X[:, 0]), "finished must be one of torch.bool"),
    (lambda: torch_npu.npu_moe_gating_top_k_softmax(X, X.bool()), "finished must have the rows of x (3, 8)"),
    (lambda: torch_npu.npu_moe_gating_top_k(X[None], 2), "x must have 2 dimensions"),
    (lambda: torch_npu.npu_moe_gating_top_k(torch.zeros(1, 2049), 2), "x must have at most 2048 experts"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, bias=X[0].bfloat16()), "bias must have the dtype of x"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, bias=X[:, 0]), "bias must have one dimension, the last of x"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, group_count=3), "group_count must divide the experts of x (3, 8)"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, group_count=4), "into groups of more than two, got 4"),
    (lambda: torch_npu.npu_moe_gating_top_k(torch.zeros(1, 495), 2, group_count=99), "at most 2048, got 99 * 32"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, group_count=2, k_group=3), "k_group must be 1 to group_count (2)"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 5, group_count=2), "to the experts of k_group groups, 4, got 5"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 0), "k must be 1 to the experts"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, renorm=1), "renorm must be 0, got 1"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, norm_type=2), "norm_type must be 0 (softmax) or 1 (sigmoid), got 2"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, group_select_mode=2), "group_select_mode must be 0"),
    (lambda: torch_npu.npu_moe_gating_top_k(X, 2, input_ids=X.int(), tid2eid=X.int()), "input_ids must be left out"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused(call, message):
    with pytest.raises(ContractError) as caught:
        call()
    assert message in str(caught.value)
